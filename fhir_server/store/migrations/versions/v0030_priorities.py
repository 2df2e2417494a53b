"""Tickets have a rank, so that the urgent go first, and may be of several orders; messages may be quarantined."""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

# The index job_ticket_due stays for workers of the version before; tickets without a rank are taken as they were.
CHANGE = """
alter table job_ticket add column rank timestamptz, add column ahead int not null default 0, add column also bigint[];
create index job_ticket_ready on job_ticket (kind, rank, id) where rank is not null;
create index job_ticket_late on job_ticket (kind, due, id) where rank is null and due is not null;
alter table inbox add column also bigint[], add column ahead int not null default 86400;
alter table inbox drop constraint inbox_state_check;
alter table inbox add constraint inbox_state_check
    check (state in ('received', 'done', 'buried', 'rejected', 'quarantined'));
"""
BACK = """
delete from job_ticket where kind = 0;
alter table job_ticket drop column rank, drop column ahead, drop column also;
alter table inbox drop column also, drop column ahead;
alter table inbox drop constraint inbox_state_check;
update inbox set state = 'buried' where state = 'quarantined';
alter table inbox add constraint inbox_state_check check (state in ('received', 'done', 'buried', 'rejected'));
"""


def upgrade() -> None:
    """Add the columns and their indexes."""
    op.get_bind().exec_driver_sql(CHANGE)


def downgrade() -> None:
    """Drop them."""
    op.get_bind().exec_driver_sql(BACK)
