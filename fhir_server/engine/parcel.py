"""What is handed to who carries it to a receiver, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from fhir_server.operations.destinations import AnyDestination
from fhir_server.store.outbox import Sends
from mappings.answered import Meaning, answered


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent where: `key` and `name` are the same at every try, `control_id` is MSH-10 of a message.

    `secrets` are those of the destination by name; nothing of them may be logged or kept.
    """

    tenant_id: int
    tenant: str
    channel: str
    destination: AnyDestination
    sends: Sends
    key: str
    name: str
    content: bytes
    control_id: str = ""
    secrets: Mapping[str, bytes] = {}

    def __repr__(self) -> str:
        """Return it without its content and secrets, for whoever prints a failure."""
        return f"Parcel({self.key!r})"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one try.

    `reason` is in our words and codes alone, without anything of a patient; `answer` is what the receiver said. `down`
    tells that the receiver is in trouble, whatever it is sent; `counts` that the try counts towards giving up; `wait`
    is how long (s) the receiver asks to be left alone.
    """

    state: Literal["done", "later", "held", "failed"]
    reason: str = ""
    answer: bytes = b""
    down: bool = False
    counts: bool = True
    wait: float = 0.0


class Carrier(Protocol):
    """Carries parcels of one kind of destination, over connections that it keeps."""

    async def carry(self, parcel: Parcel) -> Outcome:
        """Send a parcel and tell what came of it. What it raises is a fault of ours."""

    async def aclose(self) -> None:
        """Close the connections."""


_STATES: dict[Meaning, Literal["done", "later", "held", "failed"]] = {
    "taken": "done",
    "later": "later",
    "person": "held",
    "change": "failed",
}


def acknowledged(answer: bytes) -> Outcome:
    """Return what an acknowledgement in HL7 v2 means for what was sent."""
    found = answered(answer)
    if found is None:
        return Outcome(state="held", reason="the answer is no acknowledgement", answer=answer)
    state = _STATES[found.meaning]
    reason = "" if state == "done" else f"the receiver answered {found}"
    return Outcome(state=state, reason=reason, answer=answer, down=state == "later")


def made_by(parcel: Parcel) -> object:
    """Return by what a kept connection is made: where it differs, another is needed."""
    return parcel.destination, tuple(sorted(parcel.secrets.items()))


class Unfit(Exception):
    """This cannot be sent as it is: a person must look. The message is safe to show."""
