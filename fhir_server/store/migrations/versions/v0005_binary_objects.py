"""Which objects hold the contents of Binaries, and which of them a resource uses."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BINARY_OBJECT = """
create table binary_object (
    tenant_id int not null, key bytea not null, size bigint not null, touched timestamptz not null,
    used boolean not null default false, primary key (tenant_id, key)
);
create index binary_object_unused on binary_object (tenant_id, touched) where not used;
alter table binary_object enable row level security, force row level security;
create policy tenant on binary_object using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
grant select, insert, update, delete on binary_object to concord_server;
"""


def upgrade() -> None:
    """Make the table."""
    op.get_bind().exec_driver_sql(BINARY_OBJECT)


def downgrade() -> None:
    """Drop it; the objects stay, and nothing tells any more which are used."""
    op.get_bind().exec_driver_sql("drop table binary_object")
