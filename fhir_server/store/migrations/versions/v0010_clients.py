"""The applications that may ask for tokens, and the assertions they have used: each is good for one token."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = """
create table oauth_client (
    tenant_id int not null,
    client_id text not null,
    name text not null,
    scope text not null,
    jwks jsonb not null,
    created timestamptz not null default now(),
    disabled timestamptz,
    primary key (tenant_id, client_id)
);
create table oauth_assertion (
    tenant_id int not null,
    client_id text not null,
    jti text not null,
    expires timestamptz not null,
    primary key (tenant_id, client_id, jti)
);
create index oauth_assertion_expires on oauth_assertion (tenant_id, client_id, expires);
grant select, insert, update on oauth_client to concord_server;
grant select, insert, delete on oauth_assertion to concord_server;
"""
WALL = """
alter table {0} enable row level security, force row level security;
create policy tenant on {0} using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
"""


def upgrade() -> None:
    """Make the tables behind the tenant's wall."""
    for part in (TABLES, *(WALL.format(name) for name in ("oauth_client", "oauth_assertion"))):
        op.get_bind().exec_driver_sql(part)


def downgrade() -> None:
    """Drop them; clients must be registered anew."""
    op.get_bind().exec_driver_sql("drop table oauth_assertion, oauth_client")
