"""The function that settles which cases resources belong to, and has those that depend on them follow."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# `carriers` are the types that others belong to a case through, the first of them EpisodeOfCare, the second Encounter.
# A writer of a row locks, shared, what its row links to; whoever changes the cases of a carrier locks it alone before
# looking for what depends on it: so neither misses the other. The locks are of 4096 places to a tenant, since a bundle
# may link to more than the table of locks holds. Cases never pass from one patient's row to another patient's.
SETTLE = """
create function lock_cases(of_tenant bigint, self_keys bigint[], alone boolean) returns void
language plpgsql volatile set search_path = pg_catalog, public as $$
declare
    places int[] := (
        select array_agg(distinct ((k & 4095) | ((of_tenant & 524287) << 12))::int) from unnest(self_keys) k);
begin
    if alone then
        perform pg_advisory_xact_lock(1128354629, p) from (select unnest(places) p order by 1) one;
    else
        perform pg_advisory_xact_lock_shared(1128354629, p) from (select unnest(places) p order by 1) one;
    end if;
end $$;

create function settle_cases(
    of_tenant bigint, salts bigint[], carriers smallint[], rids bigint[], of_rid bigint[], of_target bigint[],
    of_tier smallint[]
) returns void language plpgsql volatile set search_path = pg_catalog, public as $$
declare
    wanted bigint[] := rids;
    -- The writer tells the links of its own rows; those of others stand among their keys, under the salts.
    told boolean := of_rid is not null;
    moved bigint[];
begin
    if of_target <> '{}' then
        perform lock_cases(of_tenant, of_target, false);
    end if;
    if not exists (select from clinic_case where tenant_id = of_tenant)
        and not exists (select from resource r
                        where r.tenant_id = of_tenant and r.rid = any(rids) and r.cases is not null) then
        return;
    end if;
    for depth in 1 .. 5 loop
        if not told then
            perform from resource r where r.tenant_id = of_tenant and r.rid = any(wanted)
            order by r.self_key for update;
        end if;
        with mine as materialized (
            select r.rid, r.self_key, r.type, r.patient, r.keys, r.body is not null as live
            from resource r where r.tenant_id = of_tenant and r.rid = any(wanted)
        ), link as (
            select n.rid, n.target, n.tier::bigint as tier
            from unnest(of_rid, of_target, of_tier) as n (rid, target, tier) where told
            union all
            select m.rid, k # s.salt, s.tier
            from mine m, unnest(m.keys) k, unnest(salts) with ordinality as s (salt, tier) where not told
        ), met as materialized (
            select l.rid, l.tier, m.type, t.cases
            from link l join mine m on m.rid = l.rid
                join resource t on t.tenant_id = of_tenant and t.self_key = l.target
            where t.body is not null and t.patient = m.patient and t.type = any(carriers)
        ), led as materialized (
            select f.rid, f.tier, array_agg(f.case_key order by f.case_key) as cases
            from (select e.rid, e.tier, e.type, c.case_key, count(*) as times
                  from met e cross join unnest(e.cases) as c (case_key) group by 1, 2, 3, 4) f
                join (select e.rid, e.tier, count(*) as links from met e group by 1, 2) n using (rid, tier)
            where f.times = n.links or f.type = carriers[2]
            group by 1, 2
        ), settled as (
            select m.rid, case
                when not m.live then null
                when m.type = carriers[1] then
                    (select array[c.case_key] from clinic_case c
                     where c.tenant_id = of_tenant and c.case_key = m.self_key)
                else coalesce(
                    (select l.cases from led l where l.rid = m.rid and l.tier = 1),
                    (select l.cases from led l where l.rid = m.rid and l.tier = 2),
                    (select array_agg(a.case_key order by a.case_key)
                     from case_assignment a join clinic_case c on c.tenant_id = of_tenant and c.case_key = a.case_key
                     where a.tenant_id = of_tenant and a.self_key = m.self_key and c.patient = m.patient))
                end as cases
            from mine m
        ), changed as (
            update resource r set cases = s.cases from settled s
            where r.tenant_id = of_tenant and r.rid = s.rid and r.cases is distinct from s.cases
            returning r.self_key, r.type
        )
        select array_agg(c.self_key) into moved from changed c where c.type = any(carriers);
        exit when moved is null;
        perform lock_cases(of_tenant, moved, true);
        -- Planned for these keys: a plan for any would not know how few rows they find.
        execute 'select array_agg(rid) from resource where tenant_id = $1 and body is not null and keys && $2'
            into wanted using of_tenant, (select array_agg(k # s) from unnest(moved) k, unnest(salts) s);
        exit when wanted is null;
        told := false;
    end loop;
end $$;
"""


def upgrade() -> None:
    """Make the functions."""
    op.get_bind().exec_driver_sql(SETTLE)


def downgrade() -> None:
    """Drop them; cases stay as they are."""
    op.get_bind().exec_driver_sql(
        "drop function settle_cases(bigint, bigint[], smallint[], bigint[], bigint[], bigint[], smallint[])"
    )
    op.get_bind().exec_driver_sql("drop function lock_cases(bigint, bigint[], boolean)")
