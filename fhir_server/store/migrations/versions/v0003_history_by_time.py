"""History of a type is read by time, so old versions stand in an index of it."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BY_TIME = "create index resource_history_updated on resource_history (tenant_id, type, updated, rid, version)"


def upgrade() -> None:
    """Make the index."""
    op.get_bind().exec_driver_sql(BY_TIME)


def downgrade() -> None:
    """Drop it."""
    op.get_bind().exec_driver_sql("drop index resource_history_updated")
