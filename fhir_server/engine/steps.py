"""What happens to messages, as a list of steps; one that returns Stop for a message ends its way early.

Every step works in the one transaction that also finishes the messages, so that all of it happens once or not at all.
A step gets all messages of the transaction at once: what it asks of the database it can ask for all of them together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from itertools import islice
from typing import Any, Protocol

import msgspec

from conformance.issue import Issue, error, warning
from fhir_server.context import Context
from fhir_server.engine import documents
from fhir_server.engine.channel import Channel
from fhir_server.errors import Unprocessable
from fhir_server.interactions.draft import Save, Saved
from fhir_server.interactions.known import known
from fhir_server.interactions.link import Links
from fhir_server.interactions.save import save
from fhir_server.interactions.service import Service
from fhir_server.operations.polled import Fhir
from fhir_server.store.database import Tx
from fhir_server.store.lifted import Lifted
from mappings import hl7v2
from mappings.from_fhir import Server, from_fhir
from mappings.hl7v2 import Message
from mappings.mapped import Document, Entry, Mapped, Unmapped, encode
from mappings.merge import conflict, merge
from mappings.to_fhir import to_fhir


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One message on its way: where it came from, the world it is worked in, and what the steps made of it so far."""

    raw: bytes
    lifted: tuple[Lifted, ...] = ()
    channel: Channel
    context: Context
    service: Service
    tx: Tx
    documents: Mapping[str, Document] = {}
    message: Message | None = None
    mapped: Mapped | None = None
    saved: tuple[Saved, ...] = ()
    issues: tuple[Issue, ...] = ()


class Stop(msgspec.Struct, frozen=True):
    """The message cannot be worked, today or ever, for these reasons: a person must look."""

    issues: Sequence[Issue]


class WroteAndStopped(Exception):
    """One of several messages stopped where it may have written already, which cannot be taken back for it alone."""


class Step(Protocol):
    """One step: what becomes of each message, in order. Its name stands in the reason when it fails."""

    __name__: str

    async def __call__(self, works: Sequence[Work], /) -> Sequence[Work | Stop]: ...


def each(one: Callable[[Work], Awaitable[Work | Stop]]) -> Step:
    """Return the step that does this to one message after the other."""

    @wraps(one)
    async def step(works: Sequence[Work], /) -> Sequence[Work | Stop]:
        return [await one(work) for work in works]

    return step


async def run(steps: Sequence[Step], works: Sequence[Work]) -> list[Work | Stop]:
    """Take each message through the steps, to the end or to its Stop. Raises what a step raises, with its name.

    Where there are several messages, only the last step may write, and none may stop there: raises WroteAndStopped.
    """
    results: list[Work | Stop] = list(works)
    for step in steps:
        going = [(n, work) for n, work in enumerate(results) if isinstance(work, Work)]
        try:
            made = await step([work for _, work in going])
        except Exception as failure:
            failure.add_note(f"in step {step.__name__}")
            raise
        for (n, _), result in zip(going, made, strict=True):
            results[n] = result
            if isinstance(result, Stop) and step is steps[-1] and len(works) > 1:
                raise WroteAndStopped
    return results


@each
async def fetch_documents(work: Work) -> Work | Stop:
    """Put a word for each document that was cut out of the message, by which its map finds it."""
    if not work.lifted:
        return work
    profile = work.channel.profile
    raw, found = await documents.marked(
        work.service.objects, work.context, work.raw, work.lifted, profile.charset, profile.fallback
    )
    return msgspec.structs.replace(work, raw=raw, documents=found)


@each
async def parse(work: Work) -> Work | Stop:
    """Read the bytes by MSH-18; what was odd about them becomes a warning. What is FHIR already is read as such."""
    if isinstance(work.channel.polls, Fhir):
        return work
    profile, most = work.channel.profile, work.service.limits.max_segments
    if (lines := work.raw.count(b"\r") + work.raw.count(b"\n")) > most:
        return Stop([error("too-costly", f"the message has {lines} lines, and no more than {most} are worked")])
    decoded = hl7v2.decode(work.raw, override=profile.charset, fallback=profile.fallback)
    odd = tuple(warning("value", text, "MSH-18") for text in decoded.warnings)
    return msgspec.structs.replace(work, message=hl7v2.parse(decoded.text), issues=work.issues + odd)


@each
async def map_to_fhir(work: Work) -> Work | Stop:
    """Say in FHIR what the message says; one that has no map, or lacks what its map needs, stops here."""
    try:
        mapped = _mapped(work)
    except Unmapped as unmapped:
        return Stop([*work.issues, *unmapped.issues])
    return msgspec.structs.replace(work, mapped=mapped, issues=work.issues + tuple(mapped.issues))


def _mapped(work: Work) -> Mapped:
    source = work.channel.polls
    if isinstance(source, Fhir):
        return from_fhir(work.raw, Server(source.base, source.types))
    assert work.message is not None
    return to_fhir(work.message, work.channel.profile, work.documents)


async def dispatch(works: Sequence[Work]) -> Sequence[Work | Stop]:
    """Write the resources of all messages, each onto the one that it is about."""
    if not works:
        return ()
    world, saves = works[0], [item for work in works for item in _saves(work)]
    found = await known(world.service, world.context, world.tx, saves)
    links = Links({url: f"{saved.type}/{saved.id}" for n, saved in found.items() if (url := saves[n].full_url)})
    rest = [_linked(item, links) for n, item in enumerate(saves) if n not in found]
    wrote = iter(await save(world.service, world.context, world.tx, rest))
    saved = iter([found[n] if n in found else next(wrote) for n in range(len(saves))])
    return [msgspec.structs.replace(work, saved=tuple(islice(saved, _size(work)))) for work in works]


def _linked(item: Save, links: Links) -> Save:
    """Return the save with its references to resources that are known already."""
    return item if item.resource is None else msgspec.structs.replace(item, resource=links.rewrite(item.resource))


STEPS: tuple[Step, ...] = (fetch_documents, parse, map_to_fhir, dispatch)


def _size(work: Work) -> int:
    return len(work.mapped.entries) if work.mapped else 0


def _saves(work: Work) -> list[Save]:
    return [_save(work, entry, number) for number, entry in enumerate(work.mapped.entries)] if work.mapped else []


def _save(work: Work, entry: Entry, number: int) -> Save:
    if entry.source is not None:
        return _of_another(work, entry, number)
    id_ = None if entry.match else entry.resource.get("id")
    return Save(
        asked=work.context,
        type=entry.resource["resourceType"],
        action="update" if id_ else "match" if entry.match else "create",
        id=id_,
        resource=encode(entry.resource),
        path=f"Bundle.entry[{number}].resource",
        full_url=entry.full_url,
        match=entry.match,
        merge=_merger(entry),
    )


def _of_another(work: Work, entry: Entry, number: int) -> Save:
    """Return the save of what stands on another server: onto what came from that address before, and nothing else."""
    return Save(
        asked=work.context,
        type=entry.resource["resourceType"],
        action="update",
        id=entry.resource["id"],
        criteria=(("_source", entry.source or ""),),
        resource=encode(entry.resource),
        path=f"Bundle.entry[{number}].resource",
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
