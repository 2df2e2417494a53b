"""What happens to a message, as a list of steps; one that returns Stop ends the way early.

Every step works in the one transaction that also finishes the message, so that all of it happens once or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from conformance.issue import Issue, warning
from fhir_server.context import Context
from fhir_server.engine.channel import Channel
from fhir_server.errors import Unprocessable
from fhir_server.interactions.draft import Save, Saved
from fhir_server.interactions.known import known
from fhir_server.interactions.link import rewrite
from fhir_server.interactions.save import save
from fhir_server.interactions.service import Service
from fhir_server.store.database import Tx
from mappings import hl7v2
from mappings.hl7v2 import Message
from mappings.mapped import Entry, Mapped, Unmapped, encode
from mappings.merge import conflict, merge
from mappings.to_fhir import to_fhir


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One message on its way: where it came from, the world it is worked in, and what the steps made of it so far."""

    raw: bytes
    channel: Channel
    context: Context
    service: Service
    tx: Tx
    message: Message | None = None
    mapped: Mapped | None = None
    saved: tuple[Saved, ...] = ()
    issues: tuple[Issue, ...] = ()


class Stop(msgspec.Struct, frozen=True):
    """The message cannot be worked, today or ever, for these reasons: a person must look."""

    issues: Sequence[Issue]


class Step(Protocol):
    """One step; its name stands in the reason when it fails."""

    __name__: str

    async def __call__(self, work: Work, /) -> Work | Stop: ...


async def run(steps: Sequence[Step], work: Work) -> Work | Stop:
    """Take the work through the steps, to the end or to the first Stop. Raises what a step raises, with its name."""
    for step in steps:
        try:
            result = await step(work)
        except Exception as failure:
            failure.add_note(f"in step {step.__name__}")
            raise
        if isinstance(result, Stop):
            return result
        work = result
    return work


async def parse(work: Work) -> Work | Stop:
    """Read the bytes by MSH-18; what was odd about them becomes a warning."""
    decoded = hl7v2.decode(work.raw)
    odd = tuple(warning("value", text, "MSH-18") for text in decoded.warnings)
    return msgspec.structs.replace(work, message=hl7v2.parse(decoded.text), issues=work.issues + odd)


async def map_to_fhir(work: Work) -> Work | Stop:
    """Say in FHIR what the message says; one that has no map, or lacks what its map needs, stops here."""
    assert work.message is not None
    try:
        mapped = to_fhir(work.message, work.channel.profile)
    except Unmapped as unmapped:
        return Stop([*work.issues, *unmapped.issues])
    return msgspec.structs.replace(work, mapped=mapped, issues=work.issues + tuple(mapped.issues))


async def dispatch(work: Work) -> Work | Stop:
    """Write the resources, each onto the one that it is about."""
    assert work.mapped is not None
    saves = [_save(entry, number) for number, entry in enumerate(work.mapped.entries)]
    found = await known(work.service, work.context, work.tx, saves)
    links = {url: f"{saved.type}/{saved.id}" for n, saved in found.items() if (url := saves[n].full_url)}
    rest = [_linked(item, links) for n, item in enumerate(saves) if n not in found]
    wrote = iter(await save(work.service, work.context, work.tx, rest))
    return msgspec.structs.replace(
        work, saved=tuple(found[n] if n in found else next(wrote) for n in range(len(saves)))
    )


def _linked(item: Save, links: Mapping[str, str]) -> Save:
    """Return the save with its references to resources that are known already."""
    if item.resource is None or not any(url.encode() in item.resource for url in links):
        return item
    return msgspec.structs.replace(item, resource=rewrite(item.resource, links))


STEPS: tuple[Step, ...] = (parse, map_to_fhir, dispatch)


def _save(entry: Entry, number: int) -> Save:
    return Save(
        type=entry.resource["resourceType"],
        action="match" if entry.match else "create",
        resource=encode(entry.resource),
        path=f"Bundle.entry[{number}].resource",
        full_url=entry.full_url,
        match=entry.match,
        merge=_merger(entry),
    )


def _merger(entry: Entry) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    """Return how the entry meets what is stored; `incoming` is its resource with the references resolved.

    It raises Unprocessable where the number belongs to somebody else: one wrong digit must not file on another person.
    """

    def meet(existing: dict[str, Any], incoming: dict[str, Any]) -> dict[str, Any]:
        linked = msgspec.structs.replace(entry, resource=incoming)
        somebody_else = conflict(existing, linked)
        if somebody_else is not None:
            raise Unprocessable([somebody_else])
        return merge(existing, linked)

    return meet
