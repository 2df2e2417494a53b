"""Deliveries go with their messages, which stay as long as they are to be sent; longer where a person must look."""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

# As in 0031, and: what is queued or being sent stays whatever its age; what is held or has failed waits for a person.
FUNCTION = """
create or replace function retain_messages(
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
            select i.state, i.state <> 'received' and not coalesce(d.going, false)
                and i.received < case when d.stuck or i.state in ('buried', 'quarantined')
                then coalesce(waiting[l.n], waiting[last]) else coalesce(others[l.n], others[last]) end as goes
            from inbox i left join unnest(owners, names) with ordinality l (owner, name, n)
                on l.owner = i.tenant_id and l.name = i.channel
            left join lateral (
                select bool_or(s.state in ('queued', 'sending')) as going,
                    bool_or(s.state in ('held', 'failed')) as stuck
                from delivery s where s.tenant_id = clinic and s.message_id = i.id and s.received = i.received
            ) d on true
            where i.tenant_id = clinic and i.received >= first and i.received < next) c
        group by c.state;
    end loop;
    select coalesce(sum(t.kept), 0) into left_over from told t;
    if really and left_over = 0 and to_regclass('public.inbox_' || part) is not null then
        execute format('lock table public.inbox_%s in access exclusive mode', part);
        if to_regclass('public.delivery_' || part) is not null then
            execute format('lock table public.delivery_%s in access exclusive mode', part);
        end if;
        for clinic in select id from tenant order by id loop
            perform set_config('app.tenant', clinic::text, true);
            -- What was queued again meanwhile stays, and the day with it.
            if exists (select from inbox i where i.tenant_id = clinic and i.received >= first and i.received < next
                       and i.state = 'received')
                or exists (select from delivery s where s.tenant_id = clinic and s.received >= first
                           and s.received < next and s.state in ('queued', 'sending')) then
                raise exception 'retain_messages: % is in use', day using errcode = '55P03';
            end if;
            delete from message_seen s where s.tenant_id = clinic and s.received >= first and s.received < next;
            delete from message_object o where o.tenant_id = clinic and o.received >= first and o.received < next;
        end loop;
        execute format('drop table public.inbox_%s', part);
        execute format('drop table if exists public.message_key_%s', part);
        execute format('drop table if exists public.delivery_attempt_%s', part);
        execute format('drop table if exists public.delivery_%s', part);
        update told set dropped = true;
    elsif really then
        for clinic in select distinct t.of_tenant from told t where t.gone > 0 loop
            perform set_config('app.tenant', clinic::text, true);
            with old as (
                select i.received, i.id from inbox i left join unnest(owners, names) with ordinality l (owner, name, n)
                    on l.owner = i.tenant_id and l.name = i.channel
                where i.tenant_id = clinic and i.received >= first and i.received < next and i.state <> 'received'
                    and not exists (select from delivery s where s.tenant_id = clinic and s.message_id = i.id
                                    and s.received = i.received and s.state in ('queued', 'sending'))
                    and i.received < case when i.state in ('buried', 'quarantined') or exists (
                        select from delivery s where s.tenant_id = clinic and s.message_id = i.id
                            and s.received = i.received and s.state in ('held', 'failed'))
                        then coalesce(waiting[l.n], waiting[last]) else coalesce(others[l.n], others[last]) end
                order by i.received, i.id limit most for update of i
            ), deleted as (
                delete from inbox i using old where i.tenant_id = clinic and i.received = old.received and i.id = old.id
                    and i.state <> 'received' returning i.received, i.id
            ), seen as (
                delete from message_seen s using deleted d
                where s.tenant_id = clinic and s.received = d.received and s.message_id = d.id
            ), sent as (
                delete from delivery s using deleted d
                where s.tenant_id = clinic and s.received = d.received and s.message_id = d.id
                returning s.received, s.id
            ), tried as (
                delete from delivery_attempt a using sent s
                where a.tenant_id = clinic and a.received = s.received and a.delivery_id = s.id
            )
            delete from message_object o using deleted d where o.tenant_id = clinic and o.message_id = d.id;
        end loop;
    end if;
    perform set_config('app.tenant', '', true);
    return query select t.of_tenant, t.of_state, t.gone, t.kept, t.dropped from told t order by 1, 2;
end $$;
"""


def upgrade() -> None:
    """Put the function in place of the one before; its rights stay."""
    op.get_bind().exec_driver_sql(FUNCTION.replace("%", "%%"))


def downgrade() -> None:
    """Leave it: the version before calls it in the same way."""
