"""Jobs: work that a write causes, queued in its transaction, and done in order per key exactly as often as it must.

The work itself runs in the transaction that claims the job, so it is committed together with the job's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from conformance.issue import Issue
from fhir_server.store import tickets
from fhir_server.store.database import Database, Tx
from fhir_server.store.tickets import ADD, CHANNEL, JOB, WORK, Ticket


class NewJob(msgspec.Struct, frozen=True):
    """Work to be done; jobs of one `order` go one after the other."""

    kind: str
    payload: dict[str, Any]
    order: int


class ClaimedJob(msgspec.Struct, frozen=True):
    """A job locked for doing; `attempts` counts the tries before this one."""

    ticket: Ticket
    id: int
    kind: str
    payload: dict[str, Any]
    attempts: int

    @property
    def tenant_id(self) -> int:
        """Return whose job it is."""
        return self.ticket.tenant_id


_ADD = f"""
with given as materialized (
    select nextval('job_id') as id, g.* from (select * from unnest(%s::text[], %s::text[], %s::bigint[])
        with ordinality as g (kind, payload, order_hash, n) order by n) g
), kept as (
    insert into job (tenant_id, id, kind, payload, state, created)
    select %s, id, kind, payload::jsonb, 'queued', %s from given
), queue as (
    select null::timestamptz as received, id as target, order_hash, %s::timestamptz as queued from given
)
{ADD.format(kind=JOB, source="queue")}
"""  # noqa: S608


def add(tx: Tx, jobs: Sequence[NewJob], now: datetime) -> None:
    """Queue jobs with the transaction, which holds their orders from here to its end: add them last."""
    if not jobs:
        return
    payloads = [msgspec.json.encode(job.payload).decode() for job in jobs]
    orders = [job.order for job in jobs]
    tx.defer(*tickets.lock_orders(orders))
    tx.defer(_ADD, ([j.kind for j in jobs], payloads, orders, tx.tenant_id, now, now, tx.tenant_id, tx.tenant_id))
    tx.defer("select pg_notify(%s, '')", (CHANNEL,))


async def claim(tx: Tx, now: datetime) -> ClaimedJob | None:
    """Lock the next job that may be done, first in first out per order; None where there is none.

    `tx` is a transaction without tenant; it gets the job's.
    """
    sql = "select kind, payload, attempts from job where tenant_id = %s and id = %s"
    while ticket := await tickets.claim(tx, JOB, now):
        if rows := await tx.fetch(sql, (ticket.tenant_id, ticket.target)):
            return ClaimedJob(ticket, ticket.target, *rows[0])
        tickets.clear(tx, ticket)
    return None


_SETTLE = """
update job set state = %s, attempts = attempts + 1, finished = %s, reason = %s::jsonb where tenant_id = %s and id = %s
"""


def finish(tx: Tx, job: ClaimedJob, now: datetime) -> None:
    """Queue that the job is done."""
    tickets.remove(tx, job.ticket)
    _settle(tx, job, "done", now, ())


def go_on(tx: Tx, job: ClaimedJob, due: datetime) -> None:
    """Queue that what was done of the job is kept and the rest goes on at `due`, behind others that are due."""
    tickets.postpone(tx, job.ticket, due)


def retry(tx: Tx, job: ClaimedJob, due: datetime, reason: Sequence[Issue]) -> None:
    """Take back what was done and queue another try at `due`; later jobs of its order wait for it."""
    tx.rollback_to(WORK)
    tickets.postpone(tx, job.ticket, due)
    _settle(tx, job, "queued", None, reason)


def bury(tx: Tx, job: ClaimedJob, now: datetime, reason: Sequence[Issue]) -> None:
    """Take back what was done and queue that the job is given up, with the reason; its order goes on."""
    tx.rollback_to(WORK)
    tickets.remove(tx, job.ticket)
    _settle(tx, job, "buried", now, reason)


def _settle(tx: Tx, job: ClaimedJob, state: str, finished: datetime | None, reason: Sequence[Issue]) -> None:
    issues = msgspec.json.encode(list(reason)).decode() if reason else None
    tx.defer(_SETTLE, (state, finished, issues, job.tenant_id, job.id))


def mark(tx: Tx, job: ClaimedJob, payload: dict[str, Any]) -> None:
    """Queue that a job goes on with another payload."""
    sql = "update job set payload = %s::jsonb where tenant_id = %s and id = %s"
    tx.defer(sql, (msgspec.json.encode(payload).decode(), job.tenant_id, job.id))


_LATEST = """
select id, state, created, finished, payload from job where tenant_id = %s and kind = %s and id <= %s
order by id desc limit 20
"""


async def of_kind(
    db: Database, tenant_id: int, kind: str, until: int
) -> list[tuple[int, str, datetime, datetime | None, Any]]:
    """Return the latest jobs of a kind up to a number: number, state, when it was queued and done, payload."""
    return [
        (row[0], row[1], row[2], row[3], row[4]) for row in await db.fetch(tenant_id, _LATEST, (tenant_id, kind, until))
    ]
