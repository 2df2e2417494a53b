"""From a frame to its acknowledgement: judged by its MSH alone, made durable, and only then answered.

HL7 v2.5.1 chapter 2.9 (original and enhanced mode). Whatever happens, the bytes are kept or the sender is told to send
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from copy import copy

import structlog

from adapters.contract import Peer
from conformance.issue import Issue, error
from fhir_server.clock import Clock
from fhir_server.engine.applied import settled
from fhir_server.engine.channel import Channel, Route
from fhir_server.engine.commit import GroupCommit
from fhir_server.engine.figures import Figures
from fhir_server.engine.intake import Bounds, Large, Taken
from fhir_server.engine.reasons import plain, storable
from fhir_server.errors import Busy
from fhir_server.operations.messages import error_keys, keys
from fhir_server.search.hashing import Hasher
from fhir_server.store import inbox
from fhir_server.store.database import Database
from fhir_server.store.inbox import DAY, Accepted, Hold, Kept
from fhir_server.store.objects import Objects
from mappings.ack import AckError, ack
from mappings.ack_mode import Kept as What
from mappings.ack_mode import awaits_application, on_keeping
from mappings.fields import Fields, fields
from mappings.header import Header, header
from mappings.hl7v2 import decode, order_keys, parse
from mappings.mapped import SenderProfile

log = structlog.get_logger(__name__)
# Table 0357: with 207 a sender may try again later, with 200 it has to change something first.
_NOT_KEPT = AckError("MSH", "207", "the message could not be stored; send it again later")
_NOT_YET = AckError("MSH", "207", "stored, but not processed yet; send it again to learn what becomes of it")
_REUSED = AckError("MSH-10", "205", "this control id came before with other content; a person has to look at both")
_FAULTS = {
    "too-large": "the message is longer than the limit; only its beginning is kept",
    "too-many-documents": "the message holds more documents than the limit; only its beginning is kept",
    "document-too-large": "a document of the message is longer than the limit; only its beginning is kept",
    "unfinished": "the message broke off before its end",
    "unframed": "bytes outside any MLLP frame",
}
# Faults of which the sender is told at once: of the others it knows.
_TOLD = frozenset(("too-large", "too-many-documents", "document-too-large"))
_TELLING = 1 << 20
_LONGEST = 250  # characters of a header field that are kept beside the bytes, where an index can hold them


class Receiver:
    """What stands behind an MLLP listener: `message` for its frames, `fault` for bytes that are none."""

    def __init__(
        self,
        db: Database,
        hasher: Hasher,
        route: Route,
        clock: Clock,
        new_id: Callable[[], str],
        *,
        patience: float = 20.0,
        wake: Callable[[], None] | None = None,
        control_id_window: int = 30 * DAY,
        figures: Figures | None = None,
        objects: Objects | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """`new_id` makes control ids for acknowledgements; `patience` is how long (s) the database may take; `wake` is
        called after messages were stored; `figures` counts what came. A control id that comes with other content within
        `control_id_window` (s) is reused. `large` needs `objects`, and takes what `bounds` allow."""
        self.figures = figures or Figures(db, clock)
        self._db = db
        self._hasher = hasher
        self._route = route
        self._clock = clock
        self._new_id = new_id
        self._patience = patience
        self._wake = wake
        self._control_id_window = control_id_window
        self._group = GroupCommit(self._commit)
        self._objects = objects
        self._bounds = bounds or Bounds()
        self._places = asyncio.Semaphore(self._bounds.together)

    def through(self, route: Route) -> Receiver:
        """Return this receiver with another door's route."""
        other = copy(self)
        other._route = route
        return other

    async def message(self, data: bytes, peer: Peer) -> bytes | None:
        """Keep a message and return its acknowledgement: that it is stored, or processed, or refused and why.

        The same message again gets the same acknowledgement. None where the sender wants none (MSH-15, MSH-16).
        """
        return await self.take(Taken(data, (), b""), peer)

    def large(self, peer: Peer) -> Large:
        """Begin to take a message that comes in pieces; its `end` returns what `message` does."""
        assert self._objects is not None
        return Large(self, self._objects, self._bounds, self._places, self._clock, peer)

    async def take(self, taken: Taken, peer: Peer) -> bytes | None:
        """Keep a message, some of whose documents may be in the object store already, as `message` does."""
        clock = asyncio.get_running_loop().time
        began, (head, channel) = clock(), self.judged(taken.raw, peer)
        answer = await self._taken(channel, head, taken, peer)
        if answer is not None:
            self.figures.answered(channel.tenant.id, channel.name, clock() - began)
        return answer

    async def _taken(self, channel: Channel, head: Header, taken: Taken, peer: Peer) -> bytes | None:
        refusals = channel.refusals(head)
        waits = channel.applied is not None and not refusals and awaits_application(head)
        answer = None if waits else self._answer(head, "refused" if refusals else "kept", refusals)
        kept = await self._keep(channel, head, self._item(channel, head, taken, peer, answer, refusals))
        self._count(channel, kept, refusals)
        if kept is None:
            return self._answer(head, "failed", [_NOT_KEPT])
        if waits and kept.ack is None and channel.applied is not None:
            return await self._applied(channel, head, kept, channel.applied)
        return kept.ack

    async def fault(self, reason: str, data: bytes, size: int, peer: Peer) -> bytes | None:
        """Keep bytes that are no message; only the sender of one that is too long is answered."""
        head, channel = self.judged(data, peer)
        problem = AckError("MSH", "200", f"{_FAULTS[reason]} ({size} bytes)")
        answer = self._answer(head, "refused", [problem]) if reason in _TOLD else None
        item = self._item(channel, head, Taken(data, (), b""), peer, answer, [problem])
        kept = await self._keep(channel, head, item)
        self._count(channel, kept, [problem])
        return kept.ack if kept else answer and self._answer(head, "failed", [_NOT_KEPT])

    def judged(self, data: bytes, peer: Peer) -> tuple[Header, Channel]:
        """Return the MSH of a message, as its channel hears it, and that channel."""
        head = _header(data)
        channel = self._route(head, peer)
        if channel.profile.charset:
            head = _header(data, channel.profile.charset)
        return channel.heard(head), channel

    def unstored(self, data: bytes, peer: Peer) -> bytes | None:
        """Return what the sender of a message is told that could not be stored."""
        return self._answer(self.judged(data, peer)[0], "failed", [_NOT_KEPT])

    async def fetched(self, data: bytes, origin: str, problem: AckError | None = None) -> Kept:
        """Keep a message that nobody waits for, from `origin`; `problem` has it refused.

        Raises Busy where it could not be stored.
        """
        head, channel = self.judged(data, Peer("", 0))
        refusals = [problem] if problem else channel.refusals(head)
        answer = self._answer(head, "refused" if refusals else "kept", refusals)
        kept = await self._keep(
            channel, head, self._item(channel, head, Taken(data, (), b""), origin, answer, refusals)
        )
        self._count(channel, kept, refusals)
        if kept is None:
            raise Busy("a message could not be stored")
        return kept

    async def _applied(self, channel: Channel, head: Header, kept: Kept, seconds: float) -> bytes | None:
        """Return the acknowledgement of a processed message, or that its sender should ask again later."""
        try:
            return await settled(self._db, channel.tenant.id, kept.id, seconds)
        except TimeoutError:
            return self._answer(head, "failed", [_NOT_YET])

    async def _keep(self, channel: Channel, head: Header, item: Accepted) -> Kept | None:
        """Make a message durable; None where that could not be done."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._group.submit(channel.tenant.id, item)
        except Exception:
            log.exception("message not stored", channel=channel.name, tenant=channel.tenant.name)
            return None

    def _count(self, channel: Channel, kept: Kept | None, refusals: Sequence[AckError]) -> None:
        tenant_id, name = channel.tenant.id, channel.name
        if kept is None:
            self.figures.failed(tenant_id, name, "unstored", [_issue(_NOT_KEPT)])
        elif refusals:
            self.figures.failed(tenant_id, name, "rejected", map(_issue, refusals))
        else:
            self.figures.count(tenant_id, name, "repeated" if kept.duplicate else "received")

    async def _commit(self, tenant_id: int, items: Sequence[Accepted]) -> Sequence[Kept]:
        kept = await inbox.accept(self._db, tenant_id, items)
        if self._wake is not None:
            self._wake()
        return kept

    def _answer(self, head: Header, what: What, errors: Sequence[AckError]) -> bytes | None:
        code = on_keeping(head, what)
        return ack(head, code, self._new_id(), self._clock(), errors) if code else None

    def _item(
        self,
        channel: Channel,
        head: Header,
        taken: Taken,
        peer: Peer | str,
        answer: bytes | None,
        refusals: Sequence[AckError],
    ) -> Accepted:
        orders, fields = ([], Fields()) if refusals else _read(taken.raw, head, channel.profile, channel.order)
        reason, tenant_id = storable([_issue(problem) for problem in refusals]), channel.tenant.id
        first, *also = [self._hasher.token(tenant_id, "Message", "order", None, order) for order in orders] or [0]
        return Accepted(
            received=self._clock(),
            raw=taken.raw,
            lifted=taken.lifted,
            content_hash=taken.content_hash or None,
            channel=channel.name,
            order_key=first,
            state="rejected" if refusals else "received",
            order_text=orders[0] if orders else None,
            sender_app=_kept(head.sender_app),
            sender_facility=_kept(head.sender_facility),
            control_id=_kept(head.control_id),
            message_type=_kept(head.message_type),
            trigger=_kept(head.trigger),
            ack=answer,
            peer=str(peer),
            reason=reason,
            fields=fields,
            keys=[*keys(fields, self._hasher, tenant_id), *error_keys(reason, self._hasher, tenant_id)],
            also=also,
            ahead=channel.ahead,
            hold=self._hold(head) if channel.holds and not refusals else None,
            within=self._control_id_window,
        )

    def _hold(self, head: Header) -> Hold:
        """Return what becomes of a message whose control id came before with other content."""
        return Hold(self._answer(head, "held", [_REUSED]), [_issue(_REUSED)])


def _header(data: bytes, charset: str = "") -> Header:
    """Return the MSH. A fault of ours in reading it must not leave the sender without an answer."""
    try:
        return header(data, charset)
    except Exception:
        log.exception("no MSH could be read")
        return header(b"")


def _read(data: bytes, head: Header, profile: SenderProfile, by: str) -> tuple[list[str], Fields]:
    """Return what the message is ordered by, and by which numbers it is found.

    A fault of ours here must not cost a message: the worker will meet it.
    """
    try:
        message = parse(decode(_beginning(data), override=profile.charset, fallback=profile.fallback).text)
        return [plain(order, _LONGEST) for order in order_keys(message, by)], fields(message)
    except Exception:
        log.exception("no order found in a message")
        return [plain(f"message|{head.control_id}", _LONGEST)], Fields()


def _beginning(data: bytes) -> bytes:
    """Return as much of a message as tells whose it is, up to the end of a line: others wait meanwhile."""
    return data if len(data) <= _TELLING else data[: data.rfind(b"\r", 0, _TELLING) + 1] or data


def _kept(text: str) -> str | None:
    """Return a header field as an index can hold it; the bytes themselves stand in `raw`."""
    return plain(text, _LONGEST) or None


def _issue(problem: AckError) -> Issue:
    return error(
        "not-supported" if problem.code in ("200", "201", "202", "203") else "invalid", problem.text, problem.location
    )
