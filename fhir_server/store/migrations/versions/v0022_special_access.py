"""Broken glass and support sessions: who was let in beyond their role, why, until when, and what came of it."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

TABLE = """
create table special_access (
    tenant_id int not null,
    id text not null,
    kind text not null constraint special_access_kind_check check (kind in ('BTG', 'SUPPORT')),
    person_id bigint not null,
    patient bigint,
    patient_id text,
    reason text not null,
    opened timestamptz not null,
    expires timestamptz not null,
    ended timestamptz,
    reviewed timestamptz,
    reviewer text,
    justified boolean,
    note text,
    primary key (tenant_id, id),
    constraint special_access_patient_check check ((kind = 'BTG') = (patient is not null))
);
create index special_access_opened on special_access (tenant_id, opened);
grant select, insert, update on special_access to concord_server;
alter table special_access enable row level security, force row level security;
create policy tenant on special_access using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
"""


def upgrade() -> None:
    """Make the table behind the tenant's wall."""
    op.get_bind().exec_driver_sql(TABLE)


def downgrade() -> None:
    """Drop it; what is open by it falls with its grants."""
    op.get_bind().exec_driver_sql("drop table special_access")
