"""Tenants define search parameters of their own: which, and how far the index has come with them."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
alter table tenant add column search_generation bigint not null default 0;

create table search_parameter (
    tenant_id int not null,
    id text not null,
    generation bigint not null,
    definition jsonb not null,
    types smallint[] not null,
    created timestamptz not null,
    started timestamptz,
    finished timestamptz,
    primary key (tenant_id, id)
);
alter table search_parameter enable row level security, force row level security;
create policy tenant on search_parameter using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
grant select, insert, update, delete on search_parameter to concord_server;

create table search_pass (
    tenant_id int not null,
    type smallint not null,
    wanted bigint not null,
    passing bigint not null default 0,
    finished bigint not null default 0,
    after text not null default '',
    done bigint not null default 0,
    total bigint,
    failed bigint not null default 0,
    primary key (tenant_id, type)
);
alter table search_pass enable row level security, force row level security;
create policy tenant on search_pass using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
grant select, insert, update, delete on search_pass to concord_server;
"""

# A writer holds the lock shared to its end, who changes the parameters holds it alone: so whatever was indexed by the
# parameters before the change is committed when the change is, and every later writer is told to look again. Each
# statement of a volatile function sees what was committed before it, which makes the look one after the lock.
FUNCTIONS = """
create function hold_search_generation(of_tenant bigint, expected bigint) returns void
language plpgsql volatile set search_path = pg_catalog, public as $$
begin
    perform pg_advisory_xact_lock_shared(1397051971, of_tenant::int);
    if (select t.search_generation from public.tenant t where t.id = of_tenant) is distinct from expected then
        raise exception 'search parameters have changed' using errcode = 'CG001';
    end if;
end $$;
create function next_search_generation(of_tenant bigint, expected bigint) returns bigint
language plpgsql volatile set search_path = pg_catalog, public as $$
declare made bigint;
begin
    perform pg_advisory_xact_lock(1397051971, of_tenant::int);
    update public.tenant t set search_generation = t.search_generation + 1
        where t.id = of_tenant and t.search_generation = expected returning t.search_generation into made;
    if made is null then
        raise exception 'search parameters have changed' using errcode = 'CG001';
    end if;
    return made;
end $$;
"""


def upgrade() -> None:
    """Make the tables and the functions."""
    for part in (TABLES, FUNCTIONS):
        op.get_bind().exec_driver_sql(part)


def downgrade() -> None:
    """Drop them; entries of tenants' parameters stay in the index, where nothing looks for them."""
    for part in (
        "drop function hold_search_generation(bigint, bigint), next_search_generation(bigint, bigint)",
        "drop table search_parameter, search_pass",
        "alter table tenant drop column search_generation",
    ):
        op.get_bind().exec_driver_sql(part)
