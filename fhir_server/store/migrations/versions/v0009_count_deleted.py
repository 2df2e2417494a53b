"""All of a type are counted in its index, less those that were deleted: those stand in an index of their own."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

DELETED = "create index resource_deleted on resource (tenant_id, type) where body is null"


def upgrade() -> None:
    """Make the index."""
    op.get_bind().exec_driver_sql(DELETED)


def downgrade() -> None:
    """Drop it."""
    op.get_bind().exec_driver_sql("drop index resource_deleted")
