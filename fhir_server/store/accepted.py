"""Messages as they come in, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from conformance.issue import Issue
from fhir_server.store.lifted import Lifted
from fhir_server.store.messages import State
from fhir_server.store.tickets import AHEAD
from mappings.fields import Fields

DAY = 86_400


class Hold(msgspec.Struct, frozen=True):
    """What becomes of a message whose control id came before with other content, where that is not to be processed.

    It is kept for a person to release, for this `reason`, and `ack` is what the sender is told.
    """

    ack: bytes | None
    reason: Sequence[Issue]


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A message to be kept: `received` is to be processed, `rejected` was refused by its MSH and is only kept.

    `ack` is what the sender is told, now and whenever it sends the same again; None where that is decided later.
    `fields` are the numbers of its patients and orders, and `keys` the hashes by which it is found.
    Where `lifted` names documents in the object store, `raw` is without them and `content_hash` is of the whole.
    `also` are further orders of which it is, `ahead` is the head start of its priority in seconds. A control id that
    came with other content within the `within` seconds before is reused; with a `hold`, such a message is quarantined.
    """

    received: datetime
    raw: bytes
    channel: str
    order_key: int
    state: Literal["received", "rejected"] = "received"
    order_text: str | None = None
    sender_app: str | None = None
    sender_facility: str | None = None
    control_id: str | None = None
    message_type: str | None = None
    trigger: str | None = None
    ack: bytes | None = None
    peer: str | None = None
    reason: Sequence[Issue] = ()
    fields: Fields = Fields()
    keys: Sequence[int] = ()
    lifted: Sequence[Lifted] = ()
    content_hash: bytes | None = None
    also: Sequence[int] = ()
    ahead: int = AHEAD["normal"]
    hold: Hold | None = None
    within: int = DAY * 30


class Kept(msgspec.Struct, frozen=True):
    """What became of an Accepted: `duplicate` met a message kept before, whose id, moment, state and ack these are.

    `reused_id` tells that the sender used the same control id for other content before.
    """

    id: int
    received: datetime
    ack: bytes | None
    state: State
    duplicate: bool = False
    reused_id: bool = False
