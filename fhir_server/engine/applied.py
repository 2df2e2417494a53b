"""The acknowledgement of a channel that answers only once a message is processed.

HL7 v2.5.1 chapter 2.9.2: AA, or AE with what is wrong
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from conformance.issue import Issue
from fhir_server.store import messages
from fhir_server.store.database import Database
from mappings.ack import AckError, ack
from mappings.ack_mode import awaits_application, defers_application, on_processing
from mappings.header import Header
from mappings.readdress import readdressed

# HL7 table 0357 by the code of an issue: https://hl7.org/fhir/R4/valueset-issue-type.html
_CODES = {"required": "101", "value": "102", "structure": "100", "code-invalid": "103", "not-supported": "200",
          "not-found": "204", "duplicate": "205", "conflict": "205", "lock-error": "206"}  # fmt: skip
_FIRST, _LONGEST = 0.005, 0.2


def answer(head: Header, issues: Sequence[Issue], done: bool, control_id: str, now: datetime) -> bytes | None:
    """Return what the sender is told of a message that is done or given up; None where it wants no answer."""
    code = on_processing(head, done) if awaits_application(head) else None
    if code is None:
        return None
    wrong = [i for i in issues if i.severity in ("error", "fatal")] if not done else []
    return ack(head, code, control_id, now, [_error(issue) for issue in wrong])


def deferred(head: Header, issues: Sequence[Issue], done: bool, control_id: str, now: datetime) -> bytes | None:
    """Return the application acknowledgement that goes out as a message of its own, None where none is wanted.

    It asks for an accept acknowledgement itself, so that it is known to have come.
    """
    code = on_processing(head, done) if defers_application(head) else None
    if code is None:
        return None
    wrong = [i for i in issues if i.severity in ("error", "fatal")] if not done else []
    return readdressed(ack(head, code, control_id, now, [_error(issue) for issue in wrong]), {15: "AL", 16: "NE"})


async def settled(db: Database, tenant_id: int, message_id: int, seconds: float) -> bytes | None:
    """Wait until a message is processed and return its acknowledgement; raise TimeoutError after `seconds`."""
    pause = _FIRST
    async with asyncio.timeout(seconds):
        while True:
            stored = await messages.show(db, tenant_id, message_id)
            if stored is not None and stored.summary.state != "received":
                return stored.ack
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST)


def _error(issue: Issue) -> AckError:
    return AckError(next(iter(issue.expression), ""), _CODES.get(issue.code, "207"), issue.diagnostics)
