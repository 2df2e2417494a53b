"""Which objects of the store hold documents of messages that are kept: such an object is no orphan."""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

TABLE = """
create table message_object (
    tenant_id int not null,
    key bytea not null,
    received timestamptz not null,
    message_id bigint not null,
    primary key (tenant_id, key, message_id)
);
create index message_object_message on message_object (tenant_id, message_id);
alter table message_object enable row level security, force row level security;
create policy tenant on message_object using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
grant select, insert, update, delete on message_object to concord_server;
"""


def upgrade() -> None:
    """Make the table."""
    op.get_bind().exec_driver_sql(TABLE)


def downgrade() -> None:
    """Drop it; a sweep takes documents away that only messages hold."""
    op.get_bind().exec_driver_sql("drop table message_object")
