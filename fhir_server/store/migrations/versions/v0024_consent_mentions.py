"""Consents about what somebody authored, and about what refers to a record."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

CLOSES = """
create or replace function consent_closes(
    of_tenant bigint, of_rid bigint, of_type smallint, of_self bigint, of_patient bigint, of_keys bigint[],
    of_actors bigint[], of_role bigint[], of_purposes text[], at timestamptz, emergency boolean
) returns boolean language plpgsql stable set search_path = pg_catalog, public as $$
declare
    who bigint[] := of_actors;
begin
    if of_role is not null then
        select of_actors || coalesce(array_agg(r.self_key), '{}') || coalesce(array_agg(k # of_role[2]), '{}') into who
        from resource r, unnest(r.keys) k
        where r.tenant_id = of_tenant and r.keys @> array[of_role[1]] and r.body is not null;
    end if;
    return exists (
        select from consent_rule d
        where d.tenant_id = of_tenant and d.patient = of_patient and d.deny
          and (not emergency or 'BTG' = any(d.purposes))
          and (d.valid_from is null or d.valid_from <= at) and (d.valid_to is null or d.valid_to > at)
          and (d.actors is null or d.actors && who)
          and (emergency or d.purposes is null or of_purposes is null or d.purposes && of_purposes)
          and (d.types is null or of_type = any(d.types))
          and (d.labels is null or d.labels && of_keys)
          and ((d.records is null and d.mentions is null) or of_self = any(coalesce(d.records, '{}'))
               or d.mentions && of_keys)
          and ((d.data_from is null and d.data_to is null)
               or not exists (select from idx_date x where x.tenant_id = of_tenant and x.rid = of_rid)
               or exists (select from idx_date x where x.tenant_id = of_tenant and x.rid = of_rid
                          and (d.data_to is null or x.lo < d.data_to) and (d.data_from is null or x.hi > d.data_from)))
          and not exists (
              select from consent_rule p
              where p.tenant_id = of_tenant and p.patient = of_patient and p.consent = d.consent and not p.deny
                and d.n = any(p.above)
                and (p.valid_from is null or p.valid_from <= at) and (p.valid_to is null or p.valid_to > at)
                and (p.actors is null or p.actors && who)
                and (p.purposes is null or p.purposes && of_purposes)
                and (p.types is null or of_type = any(p.types))
                and (p.labels is null or p.labels && of_keys)
                and ((p.records is null and p.mentions is null) or of_self = any(coalesce(p.records, '{}'))
                     or p.mentions && of_keys)
                and ((p.data_from is null and p.data_to is null)
                     or (exists (select from idx_date x where x.tenant_id = of_tenant and x.rid = of_rid)
                         and not exists (select from idx_date x where x.tenant_id = of_tenant and x.rid = of_rid
                                         and ((p.data_from is not null and x.lo < p.data_from)
                                              or (p.data_to is not null and x.hi > p.data_to)))))));
end $$;
"""


def upgrade() -> None:
    """Add the column and compare with it; Consents that name such data are wider until they are indexed anew."""
    for part in ("alter table consent_rule add column if not exists mentions bigint[]", CLOSES):
        op.get_bind().exec_driver_sql(part)


def downgrade() -> None:
    """Leave both: the version before writes rules without the column, and the function takes them as ever."""
