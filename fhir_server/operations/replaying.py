"""Processing all messages of a search again: a job, in batches from the oldest on, that tells how far it is.

Each batch is queued in the order in which the messages came, so that the order of each patient is kept, and committed
with the mark of how far it is: a worker that is killed loses nothing and another goes on.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from fhir_server.context import Context
from fhir_server.errors import NotFound
from fhir_server.store import audit, jobs, message_search, messages
from fhir_server.store.audit import Audited
from fhir_server.store.database import Database, Tx
from fhir_server.store.jobs import ClaimedJob, NewJob
from fhir_server.store.message_search import Place, Wanted

JOB = "replay"
# One order for all replays of a tenant: they go one after the other.
_ORDER = 0x7265706C6179
_BATCH = 200


class Mark(msgspec.Struct, frozen=True):
    """A replay and how far it is: messages looked at, and those of them that are queued again."""

    wanted: Wanted
    after: Place | None = None
    looked: int = 0
    queued: int = 0


class Progress(msgspec.Struct, frozen=True):
    """A replay as people see it."""

    id: int
    state: str
    created: datetime
    finished: datetime | None
    looked: int
    queued: int


async def start(db: Database, ctx: Context, wanted: Wanted) -> None:
    """Queue the replay of all messages of a search that came until now and are done or buried; it is audited."""
    until = min(wanted.until, ctx.now) if wanted.until else ctx.now
    states = tuple(state for state in wanted.states or ("done", "buried") if state in ("done", "buried"))
    mark = Mark(msgspec.structs.replace(wanted, until=until, states=states))
    async with db.transaction(ctx.tenant.id) as tx:
        grant = ctx.grant
        told = {"wanted": msgspec.to_builtins(mark.wanted)}
        row = Audited(
            at=ctx.now, action="message-replay", subject=grant.subject, client=grant.client, outcome=202, detail=told
        )
        audit.record(tx, [row])
        jobs.add(tx, [NewJob(JOB, msgspec.to_builtins(mark), _ORDER)], ctx.now)


async def batch(db: Database, tx: Tx, job: ClaimedJob, now: datetime) -> bool:
    """Queue the next messages of a replay; return whether none is left."""
    mark = msgspec.convert(job.payload, Mark)
    if not mark.wanted.states:
        return True
    page = await message_search.found(db, job.tenant_id, mark.wanted, now, after=mark.after, limit=_BATCH, oldest=True)
    queued = await messages.requeue(tx, job.tenant_id, [one.id for one in page.messages])
    done = msgspec.structs.replace(
        mark, after=page.next, looked=mark.looked + len(page.messages), queued=mark.queued + len(queued)
    )
    jobs.mark(tx, job, msgspec.to_builtins(done))
    return page.next is None


async def listed(db: Database, tenant_id: int, until: int = 2**63 - 1) -> list[Progress]:
    """Return the latest replays of a tenant, the newest first."""
    return [_progress(*row) for row in await jobs.of_kind(db, tenant_id, JOB, until)]


async def progress(db: Database, tenant_id: int, id_: int) -> Progress:
    """Return how far a replay is. Raises NotFound."""
    for one in await listed(db, tenant_id, id_):
        if one.id == id_:
            return one
    raise NotFound(f"there is no replay {id_}")


def _progress(id_: int, state: str, created: datetime, finished: datetime | None, payload: Any) -> Progress:
    mark = msgspec.convert(payload, Mark)
    return Progress(id_, state, created, finished, mark.looked, mark.queued)
