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


def upgrade() -> None:
    """Make the table."""
    op.get_bind().exec_driver_sql(LOAD_MARK)


def downgrade() -> None:
    """Drop the table; loads that were stopped start anew."""
    op.get_bind().exec_driver_sql("drop table load_mark")
