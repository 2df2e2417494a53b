"""A client's writes: one transaction under the client's permission, and another try where two writers met.

http://hl7.org/fhir/R4/http.html#transactional-integrity
"""

from __future__ import annotations

from collections.abc import Sequence

from conformance.r4.types import TYPE_CODES
from fhir_server.context import Context, Note
from fhir_server.interactions import consenting, define
from fhir_server.interactions.content import lifted
from fhir_server.interactions.draft import Save, Saved
from fhir_server.interactions.guard import Guard
from fhir_server.interactions.save import save
from fhir_server.interactions.service import Service
from fhir_server.store.database import Collision, Stale

_TRIES = 4


async def commit(service: Service, ctx: Context, saves: Sequence[Save]) -> list[Saved]:
    """Write all of `saves` in one transaction of their own, or none.

    A deadlock, a row that another writer made first and search parameters that have changed are tried again here, so
    that no client sees it.
    """
    guard = Guard(service, ctx)
    guard.scopes(saves)
    saves = await lifted(service, ctx, saves)
    done = await _tried(service, ctx, saves, guard)
    await consenting.spread(service, ctx, done)
    return done


async def _tried(service: Service, ctx: Context, saves: Sequence[Save], guard: Guard) -> list[Saved]:
    for _ in range(_TRIES - 1):
        try:
            return await _once(service, ctx, saves, guard)
        except Stale:
            service = await service.renewed(ctx.tenant.id)
        except Collision:
            continue
    return await _once(service, ctx, saves, guard)


async def _once(service: Service, ctx: Context, saves: Sequence[Save], guard: Guard) -> list[Saved]:
    async with service.db.transaction(ctx.tenant.id) as tx:
        done = await save(service, ctx, tx, saves, guard)
    # The client is shown what was there already.
    ctx.trail.extend(_seen(saved) for saved in done if saved.body is not None and not saved.changed)
    if any(saved.type == define.TYPE and saved.changed for saved in done):
        service.parameters.forget(ctx.tenant.id)
    return done


def _seen(saved: Saved) -> Note:
    return Note("read", saved.status, TYPE_CODES[saved.type], saved.id, saved.version, saved.patient)
