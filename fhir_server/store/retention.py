"""Days of the audit that are older than the law asks for are dropped; the chain goes on from where they ended.

Done by the owner of the tables: the server's role can drop nothing.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from fhir_server.store.sealer import GENESIS

_UNSEALED = """
select (select count(*) from audit where tenant_id = %(tenant)s and at < %(moment)s)
     - (select coalesce(sum(rows), 0) from audit_block b where b.tenant_id = %(tenant)s and b.day < %(before)s
        and b.day >= coalesce((select before from audit_start s where s.tenant_id = %(tenant)s), '-infinity'::date))
"""
# The last of the blocks that go: all before the first one that holds a day which stays.
_LAST = """
select number, hash from audit_block where tenant_id = %(tenant)s and number < coalesce(
    (select min(number) from audit_block where tenant_id = %(tenant)s and day >= %(before)s), 'infinity'::float8)
order by number desc limit 1
"""
_START = "select number, hash from audit_start where tenant_id = %(tenant)s"
_FORGET = """
delete from audit_state where tenant_id = %(tenant)s and digest in (
    select decode(detail ->> 'state', 'hex') from audit
    where tenant_id = %(tenant)s and at < %(moment)s and detail ? 'state')
"""
_MOVE = """
insert into audit_start (tenant_id, number, hash, before, moved)
values (%(tenant)s, %(number)s, %(hash)s, %(before)s, %(now)s)
on conflict (tenant_id) do update set number = excluded.number, hash = excluded.hash, before = excluded.before,
    moved = excluded.moved
"""
_TELL = """
insert into audit (tenant_id, at, action, subject, client, outcome, detail)
values (%(tenant)s, %(now)s, 'retain', null, 'concord', 200, %(detail)s)
"""
_DAYS = """
select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'public.audit'::regclass and c.relname ~ '^audit_[0-9]{8}$' order by 1
"""


class Dropped(msgspec.Struct, frozen=True):
    """What became of it: the days that were dropped, and of how many tenants the chain starts later now."""

    days: list[str]
    tenants: int


class Unsealed(RuntimeError):
    """Rows of these days are in no block, or blocks tell of rows that are not there: nothing was dropped."""


def retain(owner_dsn: str, before: date, now: datetime) -> Dropped:
    """Drop the days before `before`, in one transaction. Raises Unsealed, psycopg.Error."""
    with psycopg.connect(owner_dsn) as owner:
        # Nobody adds to what is being dropped; who wants to waits.
        owner.execute("lock table audit in share row exclusive mode")
        tenants = [id_ for (id_,) in owner.execute("select id from tenant order by id").fetchall()]
        moved = sum(_moved(owner, tenant, before, now) for tenant in tenants)
        days = [name for (name,) in owner.execute(_DAYS.encode()).fetchall() if name[6:] < before.strftime("%Y%m%d")]
        for name in days:
            owner.execute(f"drop table public.{name}".encode())
        _empty_default(owner, _moment(before))
    return Dropped([f"{name[6:10]}-{name[10:12]}-{name[12:]}" for name in days], moved)


def _moment(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _moved(owner: psycopg.Connection, tenant: int, before: date, now: datetime) -> bool:
    """Move the start of a tenant's chain, and tell of it in the audit itself; False where nothing of it is as old."""
    owner.execute("select set_config('app.tenant', %s, true)", (str(tenant),))
    asked = {"tenant": tenant, "before": before, "moment": _moment(before), "now": now}
    ((unsealed,),) = owner.execute(_UNSEALED.encode(), asked).fetchall()
    if unsealed:
        raise Unsealed(f"tenant {tenant}: {abs(unsealed)} rows before {before} and its blocks do not agree: see verify")
    last = owner.execute(_LAST.encode(), asked).fetchone()
    rows = owner.execute("select 1 from audit where tenant_id = %(tenant)s and at < %(moment)s limit 1", asked)
    if last is None and rows.fetchone() is None:
        return False
    number, hash_ = last or owner.execute(_START.encode(), asked).fetchone() or (0, GENESIS)
    detail = Jsonb({"before": before.isoformat(), "number": number, "hash": bytes(hash_).hex()})
    for statement in (_FORGET, "delete from audit_block where tenant_id = %(tenant)s and number <= %(number)s", _MOVE):
        owner.execute(statement.encode(), asked | {"number": number, "hash": hash_})
    owner.execute(_TELL.encode(), asked | {"detail": detail})
    return True


def _empty_default(owner: psycopg.Connection, moment: datetime) -> None:
    """Take old rows out of the default partition, which holds what came before its day was made."""
    owner.execute("alter table audit_default no force row level security")
    owner.execute("delete from audit_default where at < %s", (moment,))
    owner.execute("alter table audit_default force row level security")
