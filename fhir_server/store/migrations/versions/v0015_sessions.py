"""Signing in: sessions, second factors, recovery codes, invitations, and what went wrong."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

SESSIONS = """
alter table person add column super_admin boolean not null default false;
create table session (
    hash bytea primary key,
    person_id bigint not null constraint session_person_id_fkey references person (id) on delete cascade,
    created timestamptz not null,
    seen timestamptz not null,
    expires timestamptz not null,
    verified timestamptz,
    method text not null,
    address text,
    agent text,
    challenge bytea,
    enrolling bytea
);
create index session_person on session (person_id);
create index session_expires on session (expires);
create table invitation (
    hash bytea primary key,
    person_id bigint not null constraint invitation_person_id_fkey references person (id) on delete cascade,
    clears_factors boolean not null,
    created timestamptz not null,
    expires timestamptz not null,
    used timestamptz
);
create index invitation_person on invitation (person_id);
create table sign_in_failure (
    kind text not null,
    key bytea not null,
    failures int not null,
    at timestamptz not null,
    until timestamptz not null,
    primary key (kind, key)
);
create index sign_in_failure_at on sign_in_failure (at);
create table person_event (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    person_id bigint,
    action text not null,
    outcome smallint not null,
    address text,
    detail jsonb
);
create index person_event_person on person_event (person_id, at);
"""
FACTORS = """
create table factor (
    id bigint generated always as identity primary key,
    person_id bigint not null constraint factor_person_id_fkey references person (id) on delete cascade,
    kind text not null constraint factor_kind_check check (kind in ('totp', 'webauthn')),
    name text not null,
    secret bytea,
    credential bytea constraint factor_credential_key unique,
    public_key bytea,
    counter bigint not null default 0,
    created timestamptz not null,
    used timestamptz
);
create index factor_person on factor (person_id);
create table recovery_code (
    person_id bigint not null constraint recovery_code_person_id_fkey references person (id) on delete cascade,
    hash bytea not null,
    created timestamptz not null,
    used timestamptz,
    primary key (person_id, hash)
);
grant select, insert, update, delete on session, invitation, sign_in_failure, factor, recovery_code to concord_server;
grant select, insert on person_event to concord_server;
"""


def upgrade() -> None:
    """Make the tables."""
    op.get_bind().exec_driver_sql(SESSIONS)
    op.get_bind().exec_driver_sql(FACTORS)


def downgrade() -> None:
    """Drop them; everybody must choose a second factor anew."""
    names = "session, invitation, sign_in_failure, person_event, factor, recovery_code"
    op.get_bind().exec_driver_sql(f"drop table {names}")
    op.get_bind().exec_driver_sql("alter table person drop column super_admin")
