"""Apps that people use: kinds of clients, requests for agreement, launches, codes and refresh tokens."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TABLES = """
alter table oauth_client
    alter jwks drop not null,
    add kind text not null default 'asymmetric'
        constraint oauth_client_kind_check check (kind in ('public', 'symmetric', 'asymmetric')),
    add jwks_uri text,
    add secret_hash bytea,
    add redirect_uris text[] not null default '{}',
    add launch_uri text,
    add origins text[] not null default '{}';
alter table oauth_grant add session bytea;
create index oauth_grant_service on oauth_grant (tenant_id, client_id, expires) where person_id is null;
grant delete on oauth_grant to concord_server;
create table oauth_request (
    tenant_id int not null,
    handle_hash bytea not null,
    client_id text not null,
    redirect_uri text not null,
    state text not null,
    scope text not null,
    challenge text not null,
    created timestamptz not null,
    expires timestamptz not null,
    nonce text,
    launched_by bigint,
    person bigint,
    patient text,
    encounter text,
    asked_encounter boolean not null,
    primary key (tenant_id, handle_hash)
);
create table oauth_launch (
    tenant_id int not null,
    launch_hash bytea not null,
    client_id text not null,
    person bigint not null,
    patient text,
    encounter text,
    created timestamptz not null,
    expires timestamptz not null,
    primary key (tenant_id, launch_hash)
);
create table oauth_code (
    tenant_id int not null,
    code_hash bytea not null,
    grant_id text not null,
    client_id text not null,
    redirect_uri text not null,
    challenge text not null,
    nonce text,
    signed_in timestamptz not null,
    expires timestamptz not null,
    used timestamptz,
    primary key (tenant_id, code_hash)
);
create table oauth_refresh (
    tenant_id int not null,
    token_hash bytea not null,
    grant_id text not null,
    client_id text not null,
    expires timestamptz not null,
    used timestamptz,
    primary key (tenant_id, token_hash)
);
"""
BEHIND_THE_WALL = """
create index {0}_expires on {0} (tenant_id, expires);
alter table {0} enable row level security, force row level security;
create policy tenant on {0} using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
grant select, insert, update, delete on {0} to concord_server;
"""
MADE = ("oauth_request", "oauth_launch", "oauth_code", "oauth_refresh")


def upgrade() -> None:
    """Make the tables behind the tenant's wall."""
    for part in (TABLES, *(BEHIND_THE_WALL.format(name) for name in MADE)):
        op.get_bind().exec_driver_sql(part)


def downgrade() -> None:
    """Drop them; apps for people are registered anew."""
    # Forced, the wall would hide the rows from the tables' owner too.
    op.get_bind().exec_driver_sql(
        "alter table oauth_client no force row level security; delete from oauth_client where jwks is null;"
        " alter table oauth_client force row level security"
    )
    op.get_bind().exec_driver_sql("drop table " + ", ".join(MADE))
    columns = ("kind", "jwks_uri", "secret_hash", "redirect_uris", "launch_uri", "origins")
    dropped = ", ".join(f"drop {name}" for name in columns)
    op.get_bind().exec_driver_sql(f"alter table oauth_client alter jwks set not null, {dropped}")
    op.get_bind().exec_driver_sql("drop index oauth_grant_service; alter table oauth_grant drop session")
