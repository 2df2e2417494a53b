"""Watching: what each channel did in five minutes and since ever, standing alerts, and who is told of them."""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

TABLES = """
create sequence alert_id as bigint;
create table channel_count (
    tenant_id int not null,
    channel text not null,
    slot timestamptz not null,
    what text not null,
    count bigint not null,
    last timestamptz not null,
    primary key (tenant_id, channel, slot, what)
);
create index channel_count_slot on channel_count (tenant_id, slot);
create table watched_tenant (
    tenant_id int not null primary key,
    looked timestamptz not null
);
create table listener_process (
    process uuid not null primary key,
    seen timestamptz not null,
    connections int not null,
    refused bigint not null
);
create table alert (
    tenant_id int not null,
    id bigint not null default nextval('alert_id'),
    channel text not null,
    kind text not null,
    count bigint not null,
    detail jsonb not null,
    first timestamptz not null,
    last timestamptz not null,
    acknowledged timestamptz,
    acknowledged_by text,
    note text,
    resolved timestamptz,
    told timestamptz,
    told_count bigint not null default 0,
    primary key (tenant_id, id)
);
create unique index alert_standing on alert (tenant_id, channel, kind) where resolved is null;
create table alert_target (
    tenant_id int not null,
    id bigint not null default nextval('alert_id'),
    kind text not null constraint alert_target_kind_check check (kind in ('email', 'webhook')),
    address text not null,
    secret bytea,
    created timestamptz not null,
    author text not null,
    primary key (tenant_id, id)
);
create unique index alert_target_address on alert_target (tenant_id, kind, address);
grant usage on sequence alert_id to concord_server;
grant select, insert, update, delete on channel_count, watched_tenant, listener_process, alert_target to concord_server;
grant select, insert, update on alert to concord_server;
"""
WALL = """
alter table {0} enable row level security, force row level security;
create policy tenant on {0} using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
"""
WALLED = ("channel_count", "alert", "alert_target")


def upgrade() -> None:
    """Make the tables behind the tenant's wall, but for the list of tenants and that of processes."""
    for part in (TABLES, *(WALL.format(name) for name in WALLED)):
        op.get_bind().exec_driver_sql(part)


def downgrade() -> None:
    """Drop them: what was counted is gone, and nobody is told any more."""
    op.get_bind().exec_driver_sql(
        "drop table alert_target, alert, listener_process, watched_tenant, channel_count; drop sequence alert_id"
    )
