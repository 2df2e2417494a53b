"""Old messages go by a function of the owner, since the server may delete none; it keeps what is to be processed."""

from __future__ import annotations

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

# `others` and `waiting` are the moments before which a channel's messages go, the second those of buried and
# quarantined ones; the last of each array is for channels that are not named. What is to be processed always stays.
FUNCTION = """
create function retain_messages(
    day date, owners int[], names text[], others timestamptz[], waiting timestamptz[], most int, really boolean
) returns table (of_tenant int, of_state text, gone bigint, kept bigint, dropped boolean)
language plpgsql security definer set search_path = pg_catalog, public, pg_temp set lock_timeout = '2s' as $$
declare
    first timestamptz := day::timestamp at time zone 'UTC';
    next timestamptz := (day + 1)::timestamp at time zone 'UTC';
    last int := coalesce(array_length(others, 1), 0);
    part text := to_char(day, 'YYYYMMDD');
    clinic int;
    left_over bigint := 0;
begin
    if day >= (now() at time zone 'UTC')::date - 1 then
        raise exception 'retain_messages: % is too young', day;
    end if;
    create temporary table told
        (of_tenant int, of_state text, gone bigint, kept bigint, dropped boolean) on commit drop;
    for clinic in select id from tenant order by id loop
        perform set_config('app.tenant', clinic::text, true);
        insert into told
        select clinic, c.state, count(*) filter (where c.goes), count(*) filter (where not c.goes), false from (
            select i.state, i.state <> 'received' and i.received < case when i.state in ('buried', 'quarantined')
                then coalesce(waiting[l.n], waiting[last]) else coalesce(others[l.n], others[last]) end as goes
            from inbox i left join unnest(owners, names) with ordinality l (owner, name, n)
                on l.owner = i.tenant_id and l.name = i.channel
            where i.tenant_id = clinic and i.received >= first and i.received < next) c
        group by c.state;
    end loop;
    select coalesce(sum(t.kept), 0) into left_over from told t;
    if really and left_over = 0 and to_regclass('public.inbox_' || part) is not null then
        execute format('lock table public.inbox_%s in access exclusive mode', part);
        for clinic in select id from tenant order by id loop
            perform set_config('app.tenant', clinic::text, true);
            -- What was queued again meanwhile stays, and the day with it.
            if exists (select from inbox i where i.tenant_id = clinic and i.received >= first and i.received < next
                       and i.state = 'received') then
                raise exception 'retain_messages: % is in use', day using errcode = '55P03';
            end if;
            delete from message_seen s where s.tenant_id = clinic and s.received >= first and s.received < next;
            delete from message_object o where o.tenant_id = clinic and o.received >= first and o.received < next;
        end loop;
        execute format('drop table public.inbox_%s', part);
        execute format('drop table if exists public.message_key_%s', part);
        update told set dropped = true;
    elsif really then
        for clinic in select distinct t.of_tenant from told t where t.gone > 0 loop
            perform set_config('app.tenant', clinic::text, true);
            with old as (
                select i.received, i.id from inbox i left join unnest(owners, names) with ordinality l (owner, name, n)
                    on l.owner = i.tenant_id and l.name = i.channel
                where i.tenant_id = clinic and i.received >= first and i.received < next and i.state <> 'received'
                    and i.received < case when i.state in ('buried', 'quarantined')
                        then coalesce(waiting[l.n], waiting[last]) else coalesce(others[l.n], others[last]) end
                order by i.received, i.id limit most for update of i
            ), deleted as (
                delete from inbox i using old where i.tenant_id = clinic and i.received = old.received and i.id = old.id
                    and i.state <> 'received' returning i.received, i.id
            ), seen as (
                delete from message_seen s using deleted d
                where s.tenant_id = clinic and s.received = d.received and s.message_id = d.id
            )
            delete from message_object o using deleted d where o.tenant_id = clinic and o.message_id = d.id;
        end loop;
    end if;
    perform set_config('app.tenant', '', true);
    return query select t.of_tenant, t.of_state, t.gone, t.kept, t.dropped from told t order by 1, 2;
end $$;
revoke all on function retain_messages(date, int[], text[], timestamptz[], timestamptz[], int, boolean) from public;
grant execute on function retain_messages(date, int[], text[], timestamptz[], timestamptz[], int, boolean)
    to concord_server;
"""


def upgrade() -> None:
    """Make the function; the owner of the tables may delete, where row-level security lets it."""
    op.get_bind().exec_driver_sql(FUNCTION.replace("%", "%%"))


def downgrade() -> None:
    """Drop it; messages stay for ever."""
    op.get_bind().exec_driver_sql(
        "drop function retain_messages(date, int[], text[], timestamptz[], timestamptz[], int, boolean)"
    )
