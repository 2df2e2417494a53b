"""Which process works on a ticket: a message that kills its process is counted, and given up in the end."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

TABLE = """
create unlogged table job_attempt (
    tenant_id int not null,
    ticket bigint not null,
    worker uuid not null,
    deaths int not null,
    primary key (tenant_id, ticket)
);
grant select, insert, update, delete on job_attempt to concord_server;
"""


def upgrade() -> None:
    """Make the table; it tells nothing of a patient, as the tickets do not."""
    op.get_bind().exec_driver_sql(TABLE)


def downgrade() -> None:
    """Drop it; such a message is tried for ever."""
    op.get_bind().exec_driver_sql("drop table job_attempt")
