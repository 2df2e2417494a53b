"""`_total`: how many rows match, counted or estimated, and which of the two. http://hl7.org/fhir/R4/search.html#total

An estimate is what the planner expects, asked under the token's own permission. R4's Bundle has no place to say that a
total is one, so an outcome among the entries does, and the `self` link.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from conformance.issue import Issue, outcome
from fhir_server.context import Context
from fhir_server.interactions.bundle import entry
from fhir_server.interactions.service import Service
from fhir_server.search import across
from fhir_server.search import request as asking
from fhir_server.search.across import Part


class Total(msgspec.Struct, frozen=True):
    """The number of matches, None where nobody wants it, and how it was found."""

    number: int | None
    kind: asking.Total


async def total(service: Service, ctx: Context, parts: Sequence[Part], found: int) -> Total:
    """Return the total that a search asks for; `found` is the number of rows of its page, one more where there is."""
    asked = parts[0][0]
    if asked.total == "none":
        return Total(None, "none")
    if asked.after is None and asked.count and found <= asked.count:
        return Total(found, "accurate")
    if asked.total == "estimate":
        expected = await _expected(service, ctx, parts)
        if expected > service.limits.exact_total:
            return Total(max(expected, found), "estimate")
    statement = across.count(parts, ctx.tenant.id)
    rows = await service.db.fetch(ctx.tenant.id, statement.sql, statement.params, custom_plan=True)
    return Total(sum(int(row[0]) for row in rows), "accurate")


async def _expected(service: Service, ctx: Context, parts: Sequence[Part]) -> int:
    """Return how many rows the planner expects; nothing of the search is executed."""
    statement = across.found(parts, ctx.tenant.id)
    sql = f"explain (format json) {statement.sql}"
    [[plan]] = await service.db.fetch(ctx.tenant.id, sql, statement.params, custom_plan=True)
    top: dict[str, Any] = (plan if isinstance(plan, list) else msgspec.json.decode(plan))[0]["Plan"]
    return int(top["Plan Rows"])


def outcomes(found: Total) -> list[bytes]:
    """Return the entry that tells that a total is an estimate."""
    if found.kind != "estimate":
        return []
    text = f"the total, {found.number}, is an estimate by the database's statistics; _total=accurate counts"
    return [entry(None, outcome([Issue("information", "informational", text, ("Bundle.total",))]), mode="outcome")]
