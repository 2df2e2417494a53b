"""Who cares for whom, cases and their attorneys, and which case each resource belongs to."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = """
create sequence care_id as bigint;
create table care_relation (
    tenant_id int not null,
    member bigint not null,
    patient bigint not null,
    kind text not null constraint care_relation_kind_check
        check (kind in ('encounter', 'appointment', 'assigned', 'cover', 'referral')),
    valid_from timestamptz not null,
    valid_to timestamptz,
    source bigint not null,
    primary key (tenant_id, member, patient, source, valid_from)
);
create index care_relation_patient on care_relation (tenant_id, patient);
create index care_relation_source on care_relation (tenant_id, source);
create table clinic_case (
    tenant_id int not null,
    case_key bigint not null,
    id text not null,
    patient bigint,
    number text,
    type text,
    accident_date date,
    accident_state text,
    status text not null,
    primary key (tenant_id, case_key)
);
create index clinic_case_patient on clinic_case (tenant_id, patient);
create index clinic_case_number on clinic_case (tenant_id, number);
create table case_assignment (
    tenant_id int not null,
    self_key bigint not null,
    case_key bigint not null,
    assigned timestamptz not null,
    primary key (tenant_id, self_key, case_key)
);
create index case_assignment_case on case_assignment (tenant_id, case_key);
create table case_attorney (
    tenant_id int not null,
    id bigint not null default nextval('care_id'),
    case_key bigint not null,
    person_id bigint not null,
    role text not null constraint case_attorney_role_check check (role in ('lead', 'co-counsel', 'paralegal')),
    valid_from timestamptz not null,
    valid_to timestamptz,
    primary key (tenant_id, id)
);
create index case_attorney_person on case_attorney (tenant_id, person_id, case_key);
create index case_attorney_case on case_attorney (tenant_id, case_key);
create table release_of_information (
    tenant_id int not null,
    id bigint not null default nextval('care_id'),
    case_key bigint not null,
    patient bigint not null,
    person_id bigint,
    valid_from timestamptz not null,
    expires timestamptz not null,
    revoked_at timestamptz,
    primary key (tenant_id, id)
);
create index release_of_information_case on release_of_information (tenant_id, case_key);
create index resource_cases on resource using gin (cases) with (fastupdate = off) where cases is not null;
grant usage on sequence care_id to concord_server;
grant select, insert, update, delete on care_relation, clinic_case, case_assignment to concord_server;
grant select, insert, update on case_attorney, release_of_information to concord_server;
"""
NAMES = ("care_relation", "clinic_case", "case_assignment", "case_attorney", "release_of_information")
WALL = """
alter table {0} enable row level security, force row level security;
create policy tenant on {0} using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
"""


def upgrade() -> None:
    """Make the tables behind the tenant's wall; resources that are there get their cases when they are indexed anew."""
    for part in (TABLES, *(WALL.format(name) for name in NAMES)):
        op.get_bind().exec_driver_sql(part)


def downgrade() -> None:
    """Drop them; who had access by them has it no more."""
    op.get_bind().exec_driver_sql("drop index resource_cases")
    op.get_bind().exec_driver_sql(f"drop table {', '.join(NAMES)}")
    op.get_bind().exec_driver_sql("drop sequence care_id")
