"""Messages for the tests of the inbox, and a worker that takes them one by one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from conformance.issue import error
from fhir_server.store import inbox
from fhir_server.store.database import Database, Tx
from fhir_server.store.inbox import Accepted, Claimed, Closed
from tests.store.rows import NOW

LATER = NOW + timedelta(hours=1)
REASON = [error("processing", "it went wrong")]

Work = Callable[[Tx, Claimed], Awaitable[None]]


def letter(control_id: str, order: int = 1, text: str = "", **more: Any) -> Accepted:
    """Return a message; the same control id and text make the same message."""
    raw = f"MSH|^~\\&|LAB|HOSP|||||ADT^A01|{control_id}\rPID|{order}{text}\r".encode()
    given = {"received": NOW, "sender_app": "LAB", "sender_facility": "HOSP", "ack": f"AA {control_id}".encode()}
    more.setdefault("keys", (order,))
    return Accepted(raw=raw, channel="mllp", control_id=control_id, order_key=order, **(given | more))


async def process(database: Database, now: datetime = LATER, work: Work | None = None) -> str | None:
    """Claim a message, do the work, finish it, and return its control id; None where there is none to claim."""
    async with database.transaction(None) as tx:
        claimed = await inbox.claim(tx, now)
        if not claimed:
            return None
        (message,) = claimed
        if work:
            await work(tx, message)
        inbox.close(tx, [Closed(message, "done", {"written": []})], now)
        return message.control_id


async def drain(database: Database, now: datetime = LATER) -> list[str]:
    """Process until nothing is left, and return the control ids in the order they went."""
    done = []
    while (control_id := await process(database, now)) is not None:
        done.append(control_id)
    return done
