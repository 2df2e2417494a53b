"""From messages that ended to what is sent on: which destinations take them, in which order, and what.

What is queued here is committed with the end of the message: sent if and only if the message has ended so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime

import msgspec

from fhir_server.engine.applied import deferred
from fhir_server.engine.channel import Channel
from fhir_server.operations.deliveries import KIND, place
from fhir_server.operations.destinations import AnyDestination
from fhir_server.search.hashing import Hasher
from fhir_server.store.inbox import Closed
from fhir_server.store.outbox import NewDelivery, Sends
from mappings.header import Header


class Sorter(msgspec.Struct, frozen=True):
    """Sorts what one message sends on: `head` is its MSH as its channel hears it."""

    hasher: Hasher
    channel: Channel
    head: Header
    closed: Closed

    def deliveries(self, control_id: str, now: datetime) -> Iterator[NewDelivery]:
        """Give what is sent on; an acknowledgement that goes out as a message of its own has this control id."""
        if self.closed.state == "done":
            yield from self._sent()
        yield from self._acknowledged(control_id, now)

    def _sent(self) -> Iterator[NewDelivery]:
        for one in self.channel.destinations:
            if one.name == self.channel.acks_to or not one.takes(self.head.message_type, self.head.trigger):
                continue
            if one.sends == "message":
                yield self._made(one, "message", self.closed.message.content_hash)
                continue
            made = self.closed.result or {}
            names = [*made.get("written", ()), *made.get("unchanged", ())]
            if names:
                key = hashlib.sha256("\n".join(sorted(names)).encode()).digest()
                yield msgspec.structs.replace(self._made(one, "resources", key), refs=names)

    def _acknowledged(self, control_id: str, now: datetime) -> Iterator[NewDelivery]:
        """Give the application acknowledgement, if one is asked for: of a replay that ends as before, no second one."""
        carrier = next((one for one in self.channel.destinations if one.name == self.channel.acks_to), None)
        done = self.closed.state == "done"
        answer = deferred(self.head, self.closed.reason, done, control_id, now) if carrier else None
        if carrier is None or answer is None:
            return
        key = hashlib.sha256(f"ack|{self.closed.message.id}|{done}".encode()).digest()
        made = self._made(carrier, "ack", key)
        yield msgspec.structs.replace(made, payload=answer, control_id=control_id, message_type="ACK")

    def _made(self, one: AnyDestination, sends: Sends, content_key: bytes) -> NewDelivery:
        message, channel = self.closed.message, self.channel.name
        order = "" if one.order == "all" else str(message.order_key)
        return NewDelivery(
            received=message.received,
            message_id=message.id,
            channel=channel,
            destination=one.name,
            sends=sends,
            content_key=content_key,
            order_hash=self.hasher.token(message.tenant_id, KIND, f"{channel}/{one.name}", "order", order),
            lane=place(self.hasher, message.tenant_id, channel, one.name).lane,
            control_id=message.control_id,
            message_type=self.head.message_type[:8] or None,
            trigger=self.head.trigger[:8] or None,
        )
