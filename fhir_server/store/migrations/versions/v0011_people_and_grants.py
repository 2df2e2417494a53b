"""Who people are, what they are in which clinic, and what they have allowed to apps."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = """
create table person (
    id bigint generated always as identity primary key,
    sub text not null constraint person_sub_key unique,
    email text not null constraint person_email_key unique,
    name text not null,
    password text,
    created timestamptz not null default now(),
    disabled timestamptz
);
create table membership (
    tenant_id int not null constraint membership_tenant_id_fkey references tenant (id),
    person_id bigint not null constraint membership_person_id_fkey references person (id),
    role text not null constraint membership_role_check
        check (role in ('super-admin', 'clinic-admin', 'physician', 'biller', 'front-desk', 'attorney')),
    reference text,
    created timestamptz not null default now(),
    ended timestamptz,
    primary key (tenant_id, person_id)
);
create index membership_person on membership (person_id);
create table oauth_grant (
    tenant_id int not null,
    id text not null,
    client_id text not null,
    person_id bigint,
    scope text not null,
    patient text,
    encounter text,
    created timestamptz not null,
    expires timestamptz,
    revoked timestamptz,
    reason text,
    primary key (tenant_id, id)
);
create index oauth_grant_person on oauth_grant (tenant_id, person_id, client_id);
alter table oauth_grant enable row level security, force row level security;
create policy tenant on oauth_grant using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
grant select, insert, update on person, membership, oauth_grant to concord_server;
"""


def upgrade() -> None:
    """Make the tables."""
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    """Drop them; nobody can sign in any more."""
    op.get_bind().exec_driver_sql("drop table oauth_grant, membership, person")
