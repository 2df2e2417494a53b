"""The first schema: tenants, resources with their search index, inbox, jobs and audit, under row-level security."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LISTED = """
create sequence resource_rid as bigint increment by 256;
create sequence inbox_id as bigint;
create sequence job_id as bigint;
create sequence job_ticket_id as bigint;
create sequence audit_id as bigint;

create table tenant (
    id int generated always as identity primary key,
    name text not null constraint tenant_name_key unique
        constraint tenant_name_check check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    settings jsonb not null default '{}'::jsonb,
    created timestamptz not null default now()
);
create table installation (
    id smallint primary key constraint installation_id_check check (id = 1),
    secret bytea not null,
    created timestamptz not null default now()
);
create table signing_key (
    tenant_id int not null constraint signing_key_tenant_id_fkey references tenant (id),
    kid text not null,
    alg text not null,
    jwk jsonb not null,
    created timestamptz not null default now(),
    retired timestamptz,
    primary key (tenant_id, kid)
);
create table job_ticket (
    id bigint not null default nextval('job_ticket_id'),
    tenant_id int not null,
    kind smallint not null,
    received timestamptz,
    target bigint not null,
    order_hash bigint not null,
    queued timestamptz not null,
    due timestamptz,
    primary key (tenant_id, order_hash, id)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);
create index job_ticket_due on job_ticket (kind, due, id) where due is not null;
"""

RESOURCES = """
create table resource (
    tenant_id int not null,
    rid bigint not null,
    type smallint not null,
    id text not null,
    version int not null,
    updated timestamptz not null,
    self_key bigint not null,
    keys bigint[] not null,
    body bytea,
    codec smallint not null default 0,
    narrow_hash bigint not null default 0,
    patient bigint,
    cases bigint[],
    class smallint,
    released_at timestamptz,
    primary key (tenant_id, rid),
    constraint resource_type_id_key unique (tenant_id, type, id),
    constraint resource_self_key_key unique (tenant_id, self_key)
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05,
        autovacuum_vacuum_insert_scale_factor = 0.05);
-- 100 misses the middling codes; 1000 doubles the time to plan.
alter table resource alter keys set statistics 300;
create index resource_updated on resource (tenant_id, type, updated, rid);
create index resource_keys on resource using gin (keys) with (fastupdate = off);

create table resource_history (
    tenant_id int not null,
    rid bigint not null,
    version int not null,
    type smallint not null,
    updated timestamptz not null,
    body bytea,
    codec smallint not null default 0,
    primary key (tenant_id, rid, version)
);

create table idx_date (
    tenant_id int not null, param int not null, lo timestamptz not null, hi timestamptz not null, rid bigint not null
);
create index idx_date_lo on idx_date (tenant_id, param, lo, rid) include (hi);
create index idx_date_rid on idx_date (tenant_id, rid);

create table idx_string (
    tenant_id int not null, param int not null, value text collate "C" not null, rid bigint not null
);
create index idx_string_value on idx_string (tenant_id, param, value) include (rid);
create index idx_string_rid on idx_string (tenant_id, rid);

create table idx_number (
    tenant_id int not null, param int not null, lo float8 not null, hi float8 not null, rid bigint not null
);
create index idx_number_lo on idx_number (tenant_id, param, lo) include (hi, rid);
create index idx_number_rid on idx_number (tenant_id, rid);
"""

QUEUE = """
create table inbox (
    tenant_id int not null,
    received timestamptz not null,
    id bigint not null default nextval('inbox_id'),
    channel text not null,
    sender_app text,
    sender_facility text,
    control_id text,
    message_type text,
    trigger text,
    order_key bigint not null,
    order_text text,
    state text not null constraint inbox_state_check check (state in ('received', 'done', 'buried', 'rejected')),
    reused_id smallint not null default 0,
    attempts int not null default 0,
    due timestamptz,
    reason jsonb,
    raw bytea not null,
    content_hash bytea not null,
    ack bytea,
    peer text,
    processed timestamptz,
    result jsonb,
    primary key (tenant_id, id, received)
) partition by range (received);
create table inbox_default partition of inbox default;
create index inbox_control_id on inbox (tenant_id, control_id);
create index inbox_open on inbox (tenant_id, state, received) where state <> 'done';

create table message_seen (
    tenant_id int not null,
    control_key bytea not null,
    content_hash bytea not null,
    received timestamptz not null,
    message_id bigint not null,
    primary key (tenant_id, control_key, content_hash)
);
create index message_seen_received on message_seen (tenant_id, received);

create table job (
    tenant_id int not null,
    id bigint not null default nextval('job_id'),
    kind text not null,
    payload jsonb not null,
    state text not null constraint job_state_check check (state in ('queued', 'done', 'buried')),
    attempts int not null default 0,
    created timestamptz not null,
    finished timestamptz,
    reason jsonb,
    primary key (tenant_id, id)
);

create table audit (
    tenant_id int not null,
    at timestamptz not null,
    id bigint not null default nextval('audit_id'),
    action text not null,
    subject text,
    client text,
    type smallint,
    resource_id text,
    version int,
    outcome smallint not null,
    request_id text,
    detail jsonb,
    primary key (tenant_id, at, id)
) partition by range (at);
create table audit_default partition of audit default;
"""

# The setting is '' after a transaction-local one ends, and ''::int raises: hence nullif.
SECURITY = """
do $$
declare
    name text;
begin
    foreach name in array array['resource', 'resource_history', 'idx_date', 'idx_string', 'idx_number', 'inbox',
                                'inbox_default', 'message_seen', 'job', 'audit', 'audit_default'] loop
        execute format('alter table %I enable row level security, force row level security', name);
        if name not like '%\\_default' then  -- a partition is reached through its parent alone, whose policy holds
            execute format('create policy tenant on %I using (tenant_id = nullif(current_setting(''app.tenant'', true),'
                           ' '''')::int)', name);
        end if;
    end loop;
end $$;
"""

# Days are made under the owner's rights, so that the server's role needs none to create tables.
ENSURE_DAYS = """
create function ensure_days(first date, days int) returns int
language plpgsql security definer set search_path = pg_catalog, public as $$
declare
    parent text;
    moment text;
    day date;
    part text;
    made int := 0;
begin
    if days not between 1 and 400 then
        raise exception 'ensure_days: % days asked, 1 to 400 allowed', days;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('concord.ensure_days', 0));
    foreach parent in array array['inbox', 'audit'] loop
        moment := case parent when 'inbox' then 'received' else 'at' end;
        for day in select first + n from generate_series(0, days - 1) n loop
            part := parent || '_' || to_char(day, 'YYYYMMDD');
            if to_regclass('public.' || part) is null then
                execute format('create table public.%I (like public.%I including all)', part, parent);
                -- What came before its day was made waits in the default partition, and would forbid the new one.
                execute format('alter table public.%I no force row level security', parent || '_default');
                execute format('with moved as (delete from public.%1$I where %3$I >= %4$L and %3$I < %5$L returning *)'
                               ' insert into public.%2$I select * from moved',
                               parent || '_default', part, moment,
                               day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
                execute format('alter table public.%I force row level security', parent || '_default');
                execute format('alter table public.%I enable row level security, force row level security', part);
                execute format('alter table public.%I attach partition public.%I for values from (%L) to (%L)',
                               parent, part,
                               day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
                made := made + 1;
            end if;
        end loop;
    end loop;
    return made;
end $$;
revoke all on function ensure_days(date, int) from public;
"""

GRANTS = """
grant usage on schema public to concord_server;
grant usage on all sequences in schema public to concord_server;
grant execute on function ensure_days(date, int) to concord_server;
grant select on alembic_version to concord_server;
grant select, insert, update on tenant, signing_key to concord_server;
grant select, insert on installation to concord_server;
grant select, insert, update, delete on job_ticket, job to concord_server;
grant select, insert, update on resource, inbox to concord_server;
grant select, insert, delete on idx_date, idx_string, idx_number, message_seen to concord_server;
-- Append-only: what was is never changed by the server.
grant select, insert on resource_history, audit to concord_server;
"""


def upgrade() -> None:
    """Make everything."""
    for part in (LISTED, RESOURCES, QUEUE, SECURITY, ENSURE_DAYS, GRANTS):
        op.get_bind().exec_driver_sql(part.replace("%", "%%"))


def downgrade() -> None:
    """There is nothing below the first schema."""
    raise RuntimeError("the first schema cannot be taken back; drop the database instead")
