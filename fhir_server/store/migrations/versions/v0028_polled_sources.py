"""Who looks at a channel's folder or FHIR server, how far it is, and how the last look went."""

from __future__ import annotations

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

TABLE = """
create table channel_poll (
    tenant_id int not null,
    channel text not null,
    owner uuid,
    held timestamptz,
    mark jsonb not null default '{}',
    looked timestamptz,
    taken timestamptz,
    total bigint not null default 0,
    failures int not null default 0,
    failed timestamptz,
    failure text,
    primary key (tenant_id, channel)
);
grant select, insert, update on channel_poll to concord_server;
alter table channel_poll enable row level security, force row level security;
create policy tenant on channel_poll using (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
"""


def upgrade() -> None:
    """Make the table behind the tenant's wall."""
    op.get_bind().exec_driver_sql(TABLE)


def downgrade() -> None:
    """Drop it; what was fetched is fetched again, and known by its number."""
    op.get_bind().exec_driver_sql("drop table channel_poll")
