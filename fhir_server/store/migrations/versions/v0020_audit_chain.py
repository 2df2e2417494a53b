"""Blocks that chain the audit's rows, where a chain starts, whence rows came, and what administrators changed."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

TABLES = """
alter table audit add column peer text, alter column token type text;
create table audit_era (
    number int primary key,
    cluster text not null,
    after bigint not null,
    started timestamptz not null default now()
);
insert into audit_era (number, cluster, after) values (1, '', 0);
create table audit_block (
    tenant_id int not null,
    number bigint not null,
    day date not null,
    era int not null,
    since bigint not null,
    until bigint not null,
    rows int not null,
    leaves bytea not null,
    previous bytea not null,
    hash bytea not null,
    sealed timestamptz not null,
    primary key (tenant_id, number)
);
create table audit_start (
    tenant_id int not null primary key,
    number bigint not null,
    hash bytea not null,
    before date not null,
    moved timestamptz not null
);
create table audit_state (
    tenant_id int not null,
    digest bytea not null,
    body bytea not null,
    primary key (tenant_id, digest)
);
grant select, insert on audit_block, audit_state, audit_start to concord_server;
grant select on audit_era to concord_server;
"""
WALL = """
alter table {0} enable row level security, force row level security;
create policy tenant on {0} using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
"""


def upgrade() -> None:
    """Make the tables; the server's role adds to them and changes nothing."""
    names = ("audit_block", "audit_start", "audit_state")
    for part in (TABLES, *(WALL.format(name) for name in names)):
        op.get_bind().exec_driver_sql(part)


def downgrade() -> None:
    """Drop them, and with them the proof that nothing was changed."""
    op.get_bind().exec_driver_sql(
        "drop table audit_block, audit_start, audit_state, audit_era; alter table audit drop column peer"
    )
