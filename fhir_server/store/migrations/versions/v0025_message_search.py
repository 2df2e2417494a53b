"""Messages are found by their fields: channel, type, sender and state together, patients, orders and words of reasons.

Messages that are here already, or come from listeners of the version before, are found by the other fields alone.
"""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

COLUMNS = """
alter table inbox add column kind bigint, add column fields bytea;
create index inbox_state on inbox (tenant_id, state, received, id);
create index inbox_kind on inbox (tenant_id, kind, state, received, id);
create index inbox_unread on inbox (tenant_id, received) where kind is null;
drop index inbox_open;
"""
TABLES = """
create table message_kind (
    tenant_id int not null,
    kind bigint not null,
    channel text not null,
    message_type text,
    trigger text,
    sender_app text,
    sender_facility text,
    primary key (tenant_id, kind)
);
create table message_key (
    tenant_id int not null,
    key bigint not null,
    received timestamptz not null,
    id bigint not null,
    primary key (tenant_id, key, received, id)
) partition by range (received);
create table message_key_default partition of message_key default;
grant select, insert on message_kind to concord_server;
grant select, insert, delete on message_key to concord_server;
"""
WALL = """
alter table {0} enable row level security, force row level security;
create policy tenant on {0} using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
"""
# A partition is reached through its parent alone, whose policy holds.
PARTITION = "alter table message_key_default enable row level security, force row level security"
ENSURE_DAYS = """
create or replace function ensure_days(first date, days int) returns int
language plpgsql security definer set search_path = pg_catalog, public as $$
declare
    parent text;
    moment text;
    day date;
    part text;
    made int := 0;
begin
    if days not between 1 and 400 then
        raise exception 'ensure_days: % days asked, 1 to 400 allowed', days;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('concord.ensure_days', 0));
    foreach parent in array array['inbox', 'audit', 'message_key'] loop
        moment := case parent when 'audit' then 'at' else 'received' end;
        for day in select first + n from generate_series(0, days - 1) n loop
            part := parent || '_' || to_char(day, 'YYYYMMDD');
            if to_regclass('public.' || part) is null then
                execute format('create table public.%I (like public.%I including all)', part, parent);
                -- What came before its day was made waits in the default partition, and would forbid the new one.
                execute format('alter table public.%I no force row level security', parent || '_default');
                execute format('with moved as (delete from public.%1$I where %3$I >= %4$L and %3$I < %5$L returning *)'
                               ' insert into public.%2$I select * from moved',
                               parent || '_default', part, moment,
                               day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
                execute format('alter table public.%I force row level security', parent || '_default');
                execute format('alter table public.%I enable row level security, force row level security', part);
                execute format('alter table public.%I attach partition public.%I for values from (%L) to (%L)',
                               parent, part,
                               day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
                made := made + 1;
            end if;
        end loop;
    end loop;
    return made;
end $$;
"""
# Messages of days that are there already get theirs.
DAYS = """
select ensure_days(to_date(right(relname, 8), 'YYYYMMDD'), 1) from pg_class
where relname ~ '^inbox_[0-9]{8}$' and relkind = 'r'
"""


def upgrade() -> None:
    """Add columns, tables and their days."""
    walls = [WALL.format(name) for name in ("message_kind", "message_key")]
    for part in (COLUMNS, TABLES, *walls, PARTITION, ENSURE_DAYS, DAYS):
        op.get_bind().exec_driver_sql(part.replace("%", "%%"))


def downgrade() -> None:
    """Drop them; messages are found by number and control id alone."""
    for part in (
        "drop table message_key, message_kind",
        "drop index inbox_kind, inbox_state, inbox_unread",
        "create index inbox_open on inbox (tenant_id, state, received) where state <> 'done'",
        "alter table inbox drop column kind, drop column fields",
    ):
        op.get_bind().exec_driver_sql(part)
