"""Encryption at rest: the tenants' data keys, which master key wraps them, and how a message is stored."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TABLES = """
create table data_key (
    tenant_id int not null,
    id int not null,
    wrapped bytea not null,
    created timestamptz not null default now(),
    retired timestamptz,
    primary key (tenant_id, id)
);
alter table installation add column master_check bytea;
alter table inbox add column codec smallint not null default 0;
grant select, insert, update on data_key to concord_server;
grant update on installation to concord_server;
"""
DROPPED = """
alter table inbox drop column codec;
alter table installation drop column master_check;
drop table data_key;
"""


def upgrade() -> None:
    """Make them; what is stored stays as it is and is read so."""
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    """Drop them; what is encrypted can then be read by nobody."""
    op.get_bind().exec_driver_sql(DROPPED)
