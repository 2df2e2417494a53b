"""Loading many resources: each unit is one transaction together with the mark that it is done, so a load can resume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from conformance.structures import STORABLE, Refused, resource_type_of
from fhir_server.context import Context
from fhir_server.errors import FhirError, Invalid
from fhir_server.interactions.batch import saves_of
from fhir_server.interactions.body import members_of, text_member
from fhir_server.interactions.content import lifted
from fhir_server.interactions.draft import Save
from fhir_server.interactions.entries import parse_bundle
from fhir_server.interactions.save import save
from fhir_server.interactions.service import Service
from fhir_server.store import marks
from fhir_server.store.database import Collision, Stale

CHUNK = 200
_TRIES = 4


class Unit(msgspec.Struct, frozen=True):
    """Saves that are written together: items `first` to `last` of a source. `whole` ones may not be taken apart."""

    first: int
    last: int
    saves: Sequence[Save]
    whole: bool = False


class Loaded(msgspec.Struct, frozen=True):
    """What became of a unit: resources written, and place and reason of those that were refused."""

    written: int
    refused: Sequence[str] = ()


def units_of_bundle(service: Service, body: bytes) -> Iterator[Unit]:
    """Return the units of a bundle: one for a transaction, otherwise its resources in chunks."""
    kind, entries = parse_bundle(body)
    if kind == "transaction":
        yield Unit(0, len(entries) - 1, list(saves_of(service, entries, None).values()), whole=True)
        return
    found = (
        save_of(bytes(entry.resource), f"Bundle.entry[{n}].resource", entry.fullUrl)
        for n, entry in enumerate(entries)
        if bytes(entry.resource)
    )
    yield from chunks(found)


def chunks(saves: Iterator[Save]) -> Iterator[Unit]:
    """Return the saves in units of `CHUNK`."""
    first = 0
    while part := list(islice(saves, CHUNK)):
        yield Unit(first, first + len(part) - 1, part)
        first += len(part)


def save_of(body: bytes, path: str, full_url: str | None = None) -> Save:
    """Return the save of a bare resource: an update of the id it has, otherwise a create.

    A resource that cannot even be named becomes a create of what it says it is, which tells its problems.
    """
    try:
        resource_type = resource_type_of(body)
    except Refused:
        return Save(type="Basic", action="create", resource=body, path=path)
    if resource_type not in STORABLE:
        return Save(type="Basic", action="create", resource=body, path=path)
    resource_id = text_member(members_of(body), "id")
    return Save(
        type=resource_type,
        action="update" if resource_id else "create",
        resource=body,
        id=resource_id,
        path=path,
        full_url=full_url,
    )


async def load(service: Service, ctx: Context, source: bytes, unit: Unit) -> Loaded:
    """Write a unit; where it is refused, write its saves one by one so that the good ones are kept."""
    try:
        return await _write(service, ctx, source, unit)
    except FhirError as problem:
        if unit.whole or len(unit.saves) == 1:
            return Loaded(0, [_told(problem, "" if unit.whole else unit.saves[0].path)])
    alone = [
        await load(service, ctx, source, Unit(unit.first + n, unit.first + n, [one]))
        for n, one in enumerate(unit.saves)
    ]
    return Loaded(sum(a.written for a in alone), [r for a in alone for r in a.refused])


async def _write(service: Service, ctx: Context, source: bytes, unit: Unit) -> Loaded:
    saves = await lifted(service, ctx, unit.saves)
    service = await service.of(ctx.tenant.id)
    for attempt in range(_TRIES):
        try:
            async with service.db.transaction(ctx.tenant.id) as tx:
                marks.done(tx, source, unit.first, unit.last)
                written = await save(service, ctx, tx, saves)
                return Loaded(len(written))
        except Collision as met:
            if attempt == _TRIES - 1:
                raise
            if isinstance(met, Stale):
                service = await service.renewed(ctx.tenant.id)
    raise Invalid("no attempt was made")


def _told(problem: FhirError, path: str) -> str:
    """Return the first problems with their places, in one line."""
    told = [f"{' '.join(i.expression) or path}: {i.diagnostics}".removeprefix(": ") for i in problem.issues]
    rest = f" (and {len(told) - 3} more)" if len(told) > 3 else ""
    return "; ".join(told[:3]) + rest
