"""Keys that others may know: what they signed counts no more."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the moment of a key's revocation."""
    op.get_bind().exec_driver_sql("alter table signing_key add column revoked timestamptz")


def downgrade() -> None:
    """Drop it: revoked keys verify again, so rotate first."""
    op.get_bind().exec_driver_sql("alter table signing_key drop column revoked")
