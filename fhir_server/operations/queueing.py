"""How the messages of a channel wait: what goes first, what goes one after the other, what waits for a person."""

from __future__ import annotations

import re
from typing import Literal

from conformance.issue import Issue
from fhir_server.operations.part import Part, wrong

Priority = Literal["urgent", "normal", "bulk"]
ControlIds = Literal["accept", "quarantine"]
_PATH = re.compile(r"[A-Z][A-Z0-9]{2}-\d{1,3}(\.\d{1,3}){0,2}\Z")
_LONGEST = 36_500


class Retention(Part, frozen=True):
    """For how many days messages are kept; None: as the settings say. `buried`: of those that wait for a person."""

    days: int | None = None
    buried: int | None = None


def problems(order: str, retention: Retention) -> list[Issue]:
    """Return what is wrong with an order or a retention."""
    found = []
    if order not in ("patient", "order") and not _PATH.match(order):
        found.append(wrong("order", f"{order[:40]!r} is neither patient nor order nor a path such as PV1-19"))
    days, buried = retention.days, retention.buried
    if not all(given is None or 1 <= given <= _LONGEST for given in (days, buried)):
        found.append(wrong("retention", f"1 to {_LONGEST} days"))
    elif days is not None and buried is not None and buried < days:
        found.append(wrong("retention.buried", "what waits for a person is kept no shorter than the rest"))
    return found
