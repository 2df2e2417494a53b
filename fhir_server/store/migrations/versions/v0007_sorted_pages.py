"""A page in the order of a string or a number walks its index, rows of one value by their number."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# The new index is there before the old one goes, under whose name it then stands.
UP = """
create index idx_string_sorted on idx_string (tenant_id, param, value, rid);
drop index idx_string_value;
alter index idx_string_sorted rename to idx_string_value;
create index idx_number_sorted on idx_number (tenant_id, param, lo, rid) include (hi);
drop index idx_number_lo;
alter index idx_number_sorted rename to idx_number_lo;
"""
DOWN = """
drop index idx_string_value;
create index idx_string_value on idx_string (tenant_id, param, value) include (rid);
drop index idx_number_lo;
create index idx_number_lo on idx_number (tenant_id, param, lo) include (hi, rid);
"""


def upgrade() -> None:
    """Put the number of the row into the keys of both indexes."""
    op.get_bind().exec_driver_sql(UP)


def downgrade() -> None:
    """Take it out of them."""
    op.get_bind().exec_driver_sql(DOWN)
