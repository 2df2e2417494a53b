"""Process messages again: those that were buried, once their cause is mended, or those whose mapping has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from fhir_server.store import messages
from fhir_server.store.database import Database

_WHY = {
    "received": "it still waits to be processed",
    "quarantined": "a person has to release it first",
    "rejected": "it was refused by its MSH: its sender was told so and has to send it anew",
}


class Replayed(msgspec.Struct, frozen=True):
    """The ids that are queued again, and for the others why not."""

    queued: list[int]
    refused: dict[int, str]


async def replay(db: Database, tenant_id: int, ids: Sequence[int], wake: Callable[[], None] | None = None) -> Replayed:
    """Queue done and buried messages of the tenant again, behind what waits in their order; `wake` tells workers.

    Their resources are met again, so what has not changed gets no new version.
    """
    queued = await messages.replay(db, tenant_id, ids)
    if queued and wake is not None:
        wake()
    left = [id_ for id_ in dict.fromkeys(ids) if id_ not in set(queued)]
    return Replayed(queued, {id_: await _why(db, tenant_id, id_) for id_ in left})


async def _why(db: Database, tenant_id: int, id_: int) -> str:
    stored = await messages.show(db, tenant_id, id_)
    return _WHY.get(stored.summary.state, "it changed meanwhile") if stored else "there is no such message"
