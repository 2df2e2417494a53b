"""Bad habits of senders, laid over a stream: each message may be sent twice, late, or in other bytes than it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

import msgspec

from fhir_server.simulator.stream import Simulated

_HELD = 3  # so many messages overtake one that is late


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """The share (0 to 1) of messages that are sent twice, too late, in Latin-1 whatever MSH-18 says, or by an old id.

    `line_feeds`: segments end with LF instead of CR.
    """

    duplicates: float = 0.0
    out_of_order: float = 0.0
    wrong_charset: float = 0.0
    reused_ids: float = 0.0
    line_feeds: bool = False


def carelessly(messages: Iterable[Simulated], habits: Habits, random: Random) -> Iterator[Simulated]:
    """Give the messages as a sender with these habits sends them; one sent twice comes twice."""
    before: Simulated | None = None
    for message in _late(messages, habits.out_of_order, random):
        sent = _as_if(message, before) if before and random.random() < habits.reused_ids else message
        before = message
        data = sent.data
        if random.random() < habits.wrong_charset:
            data = data.decode().encode("latin-1", "replace")
        if habits.line_feeds:
            data = data.replace(b"\r", b"\n")
        sent = msgspec.structs.replace(sent, data=data)
        yield sent
        if random.random() < habits.duplicates:
            yield sent


def _late(messages: Iterable[Simulated], share: float, random: Random) -> Iterator[Simulated]:
    held: list[tuple[int, Simulated]] = []
    for place, message in enumerate(messages):
        if random.random() < share:
            held.append((place + _HELD, message))
        else:
            yield message
        while held and held[0][0] <= place:
            yield held.pop(0)[1]
    yield from (message for _, message in held)


def _as_if(message: Simulated, before: Simulated) -> Simulated:
    """Return a message with the control id of another, as senders do whose counter begins anew."""
    data = message.data.replace(f"|{message.control_id}|".encode(), f"|{before.control_id}|".encode(), 1)
    return msgspec.structs.replace(message, control_id=before.control_id, data=data)
