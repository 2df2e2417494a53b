"""Deliveries: what channels send on, each with its tries; how their receivers fare; and the secrets that they need."""

from __future__ import annotations

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

TABLES = """
create sequence delivery_id;
grant usage on sequence delivery_id to concord_server;
create table delivery (
    tenant_id int not null,
    received timestamptz not null,
    id bigint not null default nextval('delivery_id'),
    message_id bigint not null,
    channel text not null,
    destination text not null,
    sends text not null constraint delivery_sends_check check (sends in ('message', 'resources', 'ack')),
    content_key bytea not null,
    order_hash bigint not null,
    lane bigint not null,
    state text not null constraint delivery_state_check
        check (state in ('queued', 'sending', 'done', 'held', 'failed', 'cancelled')),
    attempts int not null default 0,
    tries int not null default 0,
    created timestamptz not null,
    due timestamptz,
    finished timestamptz,
    reason text,
    control_id text,
    message_type text,
    trigger text,
    refs jsonb,
    payload bytea,
    primary key (tenant_id, id, received),
    constraint delivery_once_key unique (tenant_id, message_id, channel, destination, content_key, received)
) partition by range (received);
create table delivery_default partition of delivery default;
create index delivery_open on delivery (tenant_id, destination, state, id) where state <> 'done';

create table delivery_attempt (
    tenant_id int not null,
    received timestamptz not null,
    delivery_id bigint not null,
    number int not null,
    began timestamptz not null,
    ended timestamptz,
    outcome text,
    reason text,
    request bytea,
    request_bytes int not null,
    answer bytea,
    answer_bytes int not null default 0,
    primary key (tenant_id, delivery_id, number, received)
) partition by range (received);
create table delivery_attempt_default partition of delivery_attempt default;

create table destination (
    tenant_id int not null,
    channel text not null,
    name text not null,
    failures int not null default 0,
    closed_until timestamptz,
    stopped_by bigint,
    paused boolean not null default false,
    reason text,
    changed timestamptz not null,
    primary key (tenant_id, channel, name)
);
create table secret (
    tenant_id int not null,
    name text not null,
    value bytea not null,
    author text not null,
    changed timestamptz not null,
    primary key (tenant_id, name)
);
grant select, insert, update on delivery, delivery_attempt, destination to concord_server;
grant select, insert, update, delete on secret to concord_server;
alter table job_ticket add column lane bigint;
create index job_ticket_lane on job_ticket (kind, lane, due, id) where lane is not null and due is not null;
"""
WALL = """
alter table {0} enable row level security, force row level security;
create policy tenant on {0} using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
"""
# A partition is reached through its parent alone, whose policy holds.
DEFAULTS = "alter table {0} enable row level security, force row level security"


def upgrade() -> None:
    """Make the tables behind the tenant's wall, two of them by day like the inbox."""
    walls = [WALL.format(name) for name in ("delivery", "delivery_attempt", "destination", "secret")]
    defaults = [DEFAULTS.format(name) for name in ("delivery_default", "delivery_attempt_default")]
    for part in (TABLES, *walls, *defaults):
        op.get_bind().exec_driver_sql(part)
    _by_day("']", "', 'delivery', 'delivery_attempt']")


def downgrade() -> None:
    """Drop them; what waits to be sent is lost with its tickets."""
    _by_day(", 'delivery', 'delivery_attempt']", "]")
    op.get_bind().exec_driver_sql("delete from job_ticket where lane is not null; alter table job_ticket drop lane")
    op.get_bind().exec_driver_sql("drop table delivery, delivery_attempt, destination, secret")
    op.get_bind().exec_driver_sql("drop sequence delivery_id")


def _by_day(before: str, after: str) -> None:
    """Change the list in the function that makes days' partitions, whatever else it came to be."""
    connection = op.get_bind()
    named = "select pg_get_functiondef('public.ensure_days(date, int)'::regprocedure)"
    ((source,),) = connection.exec_driver_sql(named).fetchall()
    head, mark, rest = source.partition("in array array[")
    if not mark or before not in rest:
        raise RuntimeError("ensure_days names its tables in another way")
    connection.exec_driver_sql((head + mark + rest.replace(before, after, 1)).replace("%", "%%"))
