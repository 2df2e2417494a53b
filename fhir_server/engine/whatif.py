"""What-if: stored messages are worked by another definition of their channel, nothing is committed, and the resources
that come of it are held against those that the working definition gives, element by element."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from fhir_server.clock import Clock
from fhir_server.context import Context, Grant, Tenant
from fhir_server.engine import steps
from fhir_server.engine.channel import Channel
from fhir_server.engine.steps import STEPS, Stop, Work
from fhir_server.errors import FhirError, NotFound
from fhir_server.interactions.draft import Saved
from fhir_server.interactions.service import Service
from fhir_server.store import messages
from fhir_server.store.messages import Stored
from mappings.mapped import Entry, decode

# What the mapping said of a resource, and what would be stored of it.
_Resource = tuple[Entry, dict[str, Any]]
Working = Callable[[int, str], Awaitable[Channel]]
# These differ from one run to the next, whatever the definition.
_OF_THE_RUN = frozenset(("versionId", "lastUpdated"))


class Change(msgspec.Struct, frozen=True):
    """One element that differs: None where it is absent. `field` is the HL7 field that it comes from, where known."""

    path: str
    before: Any = None
    after: Any = None
    field: str | None = None


class Difference(msgspec.Struct, frozen=True):
    """What becomes of one message: the changes of each resource, by what it is; or why one of the two runs stops."""

    message: int
    resources: dict[str, list[Change]] = {}
    stops_before: str | None = None
    stops_after: str | None = None

    @property
    def same(self) -> bool:
        """Tell whether the definition changes nothing for this message."""
        return not self.resources and self.stops_before == self.stops_after


class Totals(msgspec.Struct):
    """The differences of a selection, counted: messages, and changed elements by their path without numbers."""

    messages: int = 0
    changed: int = 0
    stop_now: int = 0
    stop_no_more: int = 0
    elements: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, one: Difference) -> None:
        """Count one message."""
        self.messages += 1
        self.changed += not one.same
        self.stop_now += bool(one.stops_after and not one.stops_before)
        self.stop_no_more += bool(one.stops_before and not one.stops_after)
        self.elements.update(_plain(c.path) for changes in one.resources.values() for c in changes)


class _Made(msgspec.Struct, frozen=True):
    """What one run made of a message: each resource with its entry, or why it stopped."""

    entries: Mapping[str, _Resource] = {}
    stopped: str | None = None


class _TakenBack(Exception):
    """Ends a transaction of which nothing is to stay."""


class WhatIf(msgspec.Struct, frozen=True):
    """Tries definitions on messages of a tenant."""

    service: Service
    tenant: Tenant
    base: str
    clock: Clock

    async def differences(self, ids: Sequence[int], working: Working, other: Channel) -> AsyncIterator[Difference]:
        """Give the difference for each message; `working` finds the channel of tenant and name as it works now.

        Raises NotFound for a message that is not there. Nothing is committed, nobody is told, no try is counted.
        """
        for id_ in ids:
            stored = await messages.show(self.service.db, self.tenant.id, id_)
            if stored is None:
                raise NotFound(f"there is no message {id_}")
            before = await self._made(stored, id_, await working(self.tenant.id, stored.summary.channel))
            after = await self._made(stored, id_, other)
            yield Difference(id_, _compared(before, after), before.stopped, after.stopped)

    async def _made(self, stored: Stored, id_: int, channel: Channel) -> _Made:
        made = _Made()
        service = await self.service.of(self.tenant.id)
        grant = Grant(self.tenant, f"what-if/{channel.name}", "hl7v2", channel.scopes)
        context = Context(grant, self.base, self.clock(), f"what-if-{id_}")
        try:
            async with service.db.transaction(self.tenant.id) as tx:
                work = Work(
                    raw=stored.raw, lifted=stored.lifted, channel=channel, context=context, service=service, tx=tx
                )
                (result,) = await steps.run(STEPS, [work])
                await tx.flush()  # what the database refuses would be refused here
                made = _told(result)
                raise _TakenBack
        except _TakenBack:
            return made
        except FhirError as problem:
            return _Made(stopped=str(problem))


def _told(result: Work | Stop) -> _Made:
    if isinstance(result, Stop):
        return _Made(stopped="; ".join(i.diagnostics for i in result.issues if i.severity in ("error", "fatal")))
    assert result.mapped is not None
    pairs = list(zip(result.mapped.entries, result.saved, strict=True))
    new = {f"{saved.type}/{saved.id}": entry.full_url for entry, saved in pairs if saved.status == 201}
    return _Made({entry.full_url: (entry, _body(saved, new)) for entry, saved in pairs if saved.body})


def _body(saved: Saved, new: Mapping[str, str]) -> dict[str, Any]:
    """Return a resource without what is only of this run: ids that were made for it, versions, moments."""
    assert saved.body is not None
    body: dict[str, Any] = _renamed(decode(saved.body), new)
    body["meta"] = {name: value for name, value in body.get("meta", {}).items() if name not in _OF_THE_RUN}
    if f"{saved.type}/{saved.id}" in new:
        del body["id"]
    return body


def _renamed(value: Any, new: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _renamed(child, new) for name, child in value.items()}
    if isinstance(value, list):
        return [_renamed(child, new) for child in value]
    return new.get(value, value) if isinstance(value, str) else value


def _compared(before: _Made, after: _Made) -> dict[str, list[Change]]:
    found: dict[str, list[Change]] = {}
    for old, new in _pairs(before.entries, after.entries):
        known = new or old
        assert known is not None
        kind, lineage = known[0].resource["resourceType"], known[0].lineage
        changes = _changes(kind, old[1] if old else {}, new[1] if new else {}, lineage)
        if changes:
            found.setdefault(_name(known[0]), []).extend(changes)
    return found


def _pairs(
    before: Mapping[str, _Resource], after: Mapping[str, _Resource]
) -> Iterator[tuple[_Resource | None, _Resource | None]]:
    """Pair what is the same resource; of what got another identity, the first of a type with the first, and so on."""
    yield from ((before[url], after[url]) for url in before if url in after)
    left = [before[url] for url in before if url not in after]
    new = [after[url] for url in after if url not in before]
    for one in left:
        kind = one[0].resource["resourceType"]
        other = next((two for two in new if two[0].resource["resourceType"] == kind), None)
        if other is not None:
            new.remove(other)
        yield one, other
    yield from ((None, other) for other in new)


def _changes(path: str, old: Any, new: Any, lineage: Mapping[str, str]) -> Sequence[Change]:
    if old == new:
        return ()
    if isinstance(old, dict) and isinstance(new, dict):
        names = dict.fromkeys((*old, *new))
        return [c for name in names for c in _changes(f"{path}.{name}", old.get(name), new.get(name), lineage)]
    if isinstance(old, list) and isinstance(new, list):
        longest = max(len(old), len(new))
        pairs = [(_at(old, n), _at(new, n)) for n in range(longest)]
        return [c for n, (a, b) in enumerate(pairs) for c in _changes(f"{path}[{n}]", a, b, lineage)]
    return [Change(path, old, new, _field(path, lineage))]


def _at(values: Sequence[Any], number: int) -> Any:
    return values[number] if number < len(values) else None


def _field(path: str, lineage: Mapping[str, str]) -> str | None:
    """Return the HL7 field of an element, or of the nearest one that it is part of."""
    inside = path.partition(".")[2]
    while inside:
        if inside in lineage:
            return lineage[inside]
        inside = inside.rpartition(".")[0] if inside[-1] != "]" else inside.rpartition("[")[0]
    return None


def _name(entry: Entry) -> str:
    """Return what people know a resource by: its type and its first identifier."""
    number = entry.source.rsplit("/", 1)[-1] if entry.source else entry.full_url.rsplit(":", 1)[-1][:8]
    value = entry.match[0][1] if entry.match else number
    return f"{entry.resource['resourceType']} {value}"


def _plain(path: str) -> str:
    return "".join(part.partition("]")[2] if n else part for n, part in enumerate(path.split("[")))
