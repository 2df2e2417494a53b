"""What patients deny, as rules that every query asks."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

TABLE = """
create table consent_rule (
    tenant_id int not null,
    patient bigint not null,
    consent bigint not null,
    n smallint not null,
    above smallint[] not null,
    deny boolean not null,
    valid_from timestamptz,
    valid_to timestamptz,
    actors bigint[],
    purposes text[],
    types smallint[],
    labels bigint[],
    records bigint[],
    data_from timestamptz,
    data_to timestamptz,
    made timestamptz not null,
    primary key (tenant_id, patient, consent, n)
);
create index consent_rule_consent on consent_rule (tenant_id, consent);
alter table consent_rule enable row level security, force row level security;
create policy tenant on consent_rule using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
grant select, insert, delete on consent_rule to concord_server;
"""
# Asked only of rows of patients who deny something. A denial holds where none of its exceptions does. What cannot be
# known of the one who asks (of_purposes null) or of the record (it has no date) is taken for what is denied, and never
# for what is permitted. In an emergency only a denial of emergencies holds. The organizations somebody works for are
# those of their PractitionerRoles: `of_role` are the keys by which these name a practitioner, and the salt of the
# organization that they name.
CLOSES = """
create function consent_closes(
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
          and (d.records is null or of_self = any(d.records))
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
                and (p.records is null or of_self = any(p.records))
                and ((p.data_from is null and p.data_to is null)
                     or (exists (select from idx_date x where x.tenant_id = of_tenant and x.rid = of_rid)
                         and not exists (select from idx_date x where x.tenant_id = of_tenant and x.rid = of_rid
                                         and ((p.data_from is not null and x.lo < p.data_from)
                                              or (p.data_to is not null and x.hi > p.data_to)))))));
end $$;
"""


def upgrade() -> None:
    """Make the table and the function; Consents that are there count once they are indexed anew."""
    for part in (TABLE, CLOSES):
        op.get_bind().exec_driver_sql(part)


def downgrade() -> None:
    """Drop them; what patients deny is then not looked at."""
    op.get_bind().exec_driver_sql(
        "drop function consent_closes(bigint, bigint, smallint, bigint, bigint, bigint[], bigint[], bigint[], text[],"
        " timestamptz, boolean)"
    )
    op.get_bind().exec_driver_sql("drop table consent_rule")
