"""Elements that repeat get entries of their own, for composite parameters."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COMPOSITE = """
create table idx_composite (
    tenant_id int not null, key bigint not null, lo float8 not null, hi float8 not null, lo2 float8 not null,
    hi2 float8 not null, value text collate "C" not null, keys bigint[] not null, rid bigint not null
);
create index idx_composite_key on idx_composite (tenant_id, key, lo) include (hi, rid);
create index idx_composite_rid on idx_composite (tenant_id, rid);
alter table idx_composite enable row level security, force row level security;
create policy tenant on idx_composite using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
grant select, insert, delete on idx_composite to concord_server;
"""

STATISTICS = """
create or replace function refresh_statistics() returns void
language plpgsql security definer set search_path = pg_catalog, public as $$
begin
    analyze public.resource, public.resource_history, public.idx_date, public.idx_string, public.idx_number,
        public.idx_composite;
end $$;
"""


def upgrade() -> None:
    """Make the table."""
    for part in (COMPOSITE, STATISTICS):
        op.get_bind().exec_driver_sql(part)


def downgrade() -> None:
    """Drop it."""
    for part in (STATISTICS.replace(",\n        public.idx_composite", ""), "drop table idx_composite"):
        op.get_bind().exec_driver_sql(part)
