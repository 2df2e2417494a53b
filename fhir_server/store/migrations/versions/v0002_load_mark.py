"""What a load has done already, so that one that was stopped goes on where it was."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LOAD_MARK = """
create table load_mark (
    tenant_id int not null,
    source bytea not null,
    "first" bigint not null,
    "last" bigint not null,
    primary key (tenant_id, source, "first")
);
alter table load_mark enable row level security, force row level security;
create policy tenant on load_mark using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
grant select, insert on load_mark to concord_server;
"""


# Under the owner's rights: the server's role owns nothing, so it may not analyze.
STATISTICS = """
create function refresh_statistics() returns void
language plpgsql security definer set search_path = pg_catalog, public as $$
begin
    analyze public.resource, public.resource_history, public.idx_date, public.idx_string, public.idx_number;
end $$;
revoke all on function refresh_statistics() from public;
grant execute on function refresh_statistics() to concord_server;
"""


def upgrade() -> None:
    """Make the table and the function."""
    for part in (LOAD_MARK, STATISTICS):
        op.get_bind().exec_driver_sql(part)


def downgrade() -> None:
    """Drop them; loads that were stopped start anew."""
    for part in ("drop function refresh_statistics()", "drop table load_mark"):
        op.get_bind().exec_driver_sql(part)
