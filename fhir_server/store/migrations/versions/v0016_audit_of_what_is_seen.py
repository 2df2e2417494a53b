"""The audit tells of what is seen too: whose data it was, by which token, and by which request."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

COLUMNS = """
alter table audit add column patient bigint, add column purpose text, add column token uuid, add column query bytea,
    add column xid xid8 not null default pg_current_xact_id();
create index audit_xid on audit (tenant_id, xid);
create index audit_patient on audit (tenant_id, patient, at) where patient is not null;
create index audit_subject on audit (tenant_id, subject, at);
"""


def upgrade() -> None:
    """Add them; what was recorded before counts as of this migration's transaction."""
    op.get_bind().exec_driver_sql(COLUMNS)


def downgrade() -> None:
    """Drop them, and with them who saw what."""
    op.get_bind().exec_driver_sql(
        "alter table audit drop column patient, drop column purpose, drop column token, drop column query,"
        " drop column xid"
    )
