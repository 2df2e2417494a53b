"""Channels: what comes in by which door, how its sender writes, and every definition that ever was."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TABLES = """
create table channel (
    tenant_id int not null,
    name text not null,
    state text not null
        constraint channel_state_check check (state in ('running', 'paused', 'draining')),
    version int not null,
    changed timestamptz not null,
    primary key (tenant_id, name)
);
create table channel_version (
    tenant_id int not null,
    name text not null,
    version int not null,
    definition jsonb not null,
    author text not null,
    note text,
    created timestamptz not null,
    primary key (tenant_id, name, version)
);
alter table tenant add column channel_generation bigint not null default 0;
grant select, insert, update on channel to concord_server;
grant select, insert on channel_version to concord_server;
"""
WALL = """
alter table {0} enable row level security, force row level security;
create policy tenant on {0} using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
"""


def upgrade() -> None:
    """Make the tables behind the tenant's wall."""
    for part in (TABLES, *(WALL.format(name) for name in ("channel", "channel_version"))):
        op.get_bind().exec_driver_sql(part)


def downgrade() -> None:
    """Drop them; messages are taken by the door of the settings alone."""
    op.get_bind().exec_driver_sql(
        "drop table channel_version, channel; alter table tenant drop column channel_generation"
    )
