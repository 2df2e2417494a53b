"""A client's writes: permission before and after, one transaction, and another try where two writers met.

http://hl7.org/fhir/R4/http.html#transactional-integrity
"""

from __future__ import annotations

from collections.abc import Sequence

from conformance.r4.types import TYPE_CODES
from fhir_server.context import Context
from fhir_server.errors import Forbidden, NotFound
from fhir_server.interactions.draft import Save, Saved
from fhir_server.interactions.read import find
from fhir_server.interactions.save import save
from fhir_server.interactions.service import Service
from fhir_server.search.kinds import Entries
from fhir_server.search.tree import Everything
from fhir_server.smart.policy import may_hold, visible
from fhir_server.store.database import Collision

_LETTER = {"create": "c", "update": "u", "patch": "u", "delete": "d", "match": "u"}
_TRIES = 4


async def commit(service: Service, ctx: Context, saves: Sequence[Save]) -> list[Saved]:
    """Write all of `saves` in one transaction of their own, or none.

    A deadlock or a row that another writer made first is tried again here, so that no client sees it.
    """
    for item in saves:
        await _may_touch(service, ctx, item)
    for _ in range(_TRIES - 1):
        try:
            return await _once(service, ctx, saves)
        except Collision:
            continue
    return await _once(service, ctx, saves)


async def _once(service: Service, ctx: Context, saves: Sequence[Save]) -> list[Saved]:
    def guard(resource_type: str, action: str, entries: Entries) -> None:
        if not may_hold(ctx.grant, service.hasher, resource_type, entries.patient, _LETTER[action]):
            raise Forbidden(f"this token may not write a {resource_type} of another patient")

    async with service.db.transaction(ctx.tenant.id) as tx:
        return await save(service, ctx, tx, saves, guard)


async def _may_touch(service: Service, ctx: Context, item: Save) -> None:
    """Refuse as unknown what the grant cannot see; a resource that does not exist yet may be made."""
    tree = visible(ctx.grant, service.hasher, item.type, _LETTER[item.action])
    if item.action == "patch":
        # Its answer shows the resource, and a patch may ask what is in it.
        visible(ctx.grant, service.hasher, item.type, "r")
    if isinstance(tree, Everything) or item.id is None:
        return
    try:
        await find(service, ctx, item.type, item.id, _LETTER[item.action])
    except NotFound:
        if await service.loader.read(ctx.tenant.id, TYPE_CODES[item.type], item.id) is not None:
            raise
