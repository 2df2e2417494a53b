"""What stands in a page beside its matches: each round follows references from the rows that the last one brought.

http://hl7.org/fhir/R4/search.html#include
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from conformance.issue import outcome, warning
from conformance.r4.types import CODE_TYPES, TYPE_CODES
from fhir_server.context import Context
from fhir_server.errors import Forbidden
from fhir_server.interactions.bundle import entry
from fhir_server.interactions.service import Service
from fhir_server.interactions.subset import Subset, cut
from fhir_server.search import links
from fhir_server.search.include import Include
from fhir_server.search.plan import Statement
from fhir_server.search.tree import Nothing, Tree, all_of
from fhir_server.smart.masking import masked
from fhir_server.smart.policy import visible


class Row(msgspec.Struct, frozen=True):
    """A resource of a page."""

    type: str
    rid: int
    id: str
    body: bytes
    patient: int | None


async def included(
    service: Service, ctx: Context, includes: Sequence[Include], matches: Sequence[Row], wanted: Subset | None = None
) -> tuple[list[bytes], list[Row]]:
    """Return the entries of included resources, and the resources: each once and none that is a match.

    As far as the grant may read them. Where there are more than the limit, the last entry is an outcome that says so.
    """
    if not includes or not matches:
        return [], []
    gathering = _Gathering(service, ctx, matches)
    asked, frontier = includes, matches
    while frontier and asked and not gathering.cut:
        frontier = [row for one in asked for row in await gathering.follow(one, frontier)]
        asked = [one for one in includes if one.iterate]
    shown = [(row, masked(ctx, row.type, row.body)) for row in gathering.rows]
    entries = [
        entry(f"{ctx.base}/{row.type}/{row.id}", cut(row.type, body, wanted, included=True), mode="include")
        for row, body in shown
    ]
    return [*entries, gathering.outcome()] if gathering.cut else entries, gathering.rows


class _Gathering:
    """What was included so far."""

    def __init__(self, service: Service, ctx: Context, matches: Iterable[Row]) -> None:
        self.rows: list[Row] = []
        self.cut = False
        self._service, self._ctx = service, ctx
        self._known = {row.rid for row in matches}

    async def follow(self, one: Include, frontier: Sequence[Row]) -> list[Row]:
        """Return the rows, not known before, to which `one` leads from the rows of the frontier."""
        statements = self._backward(one, frontier) if one.reverse else self._forward(one, frontier)
        fresh: list[Row] = []
        for statement in statements:
            if not self.cut:
                fresh += await self._fetch(statement)
        return fresh

    def outcome(self) -> bytes:
        """Return the entry that says that not all is there."""
        limit = self._service.limits.max_included
        text = f"more than {limit} resources would be included: the rest was left out"
        return entry(None, outcome([warning("incomplete", text, "http._include")]), mode="outcome")

    async def _fetch(self, statement: Statement) -> list[Row]:
        found = await self._service.db.fetch(
            self._ctx.tenant.id, statement.sql, statement.params, custom_plan=statement.pin
        )
        fresh = [Row(CODE_TYPES[row[5]], row[0], row[1], row[4], row[6]) for row in found if row[0] not in self._known]
        room = self._service.limits.max_included - len(self.rows)
        self.cut = len(fresh) > room
        kept = fresh[:room]
        self._known.update(row.rid for row in kept)
        self.rows += kept
        return kept

    def _forward(self, one: Include, frontier: Sequence[Row]) -> list[Statement]:
        """Return the statements for what the frontier refers to, one for each type and permission."""
        by_type: dict[str, list[int]] = {}
        for row in frontier:
            if row.type in one.links:
                by_type.setdefault(row.type, []).append(row.rid)
        found = []
        for name, rids in by_type.items():
            targets = {one.target} if one.target else {t for code in one.links[name] for t in self._targets(name, code)}
            salts = [self._salt(name, code) for code in one.links[name]]
            for restrict, types in self._allowed(targets, "r").items():
                found.append(links.included(rids, salts, types, self._ctx.tenant.id, restrict, self._limit))
        return found

    def _backward(self, one: Include, frontier: Sequence[Row]) -> list[Statement]:
        """Return the statements for what refers to the frontier: a key for each reference that may."""
        self_key, tenant = self._service.hasher.self_key, self._ctx.tenant.id
        rows = [(row.type, self_key(tenant, row.type, row.id)) for row in frontier if one.target in (None, row.type)]
        found = []
        for restrict, types in self._allowed(one.links, "rs").items():
            pairs = [(name, code) for name in types for code in one.links[name]]
            salted = [(self._salt(*pair), frozenset(self._targets(*pair))) for pair in pairs]
            keys = [key ^ salt for salt, targets in salted for kind, key in rows if kind in targets]
            if keys:
                found.append(links.including(keys, types, tenant, restrict, self._limit))
        return found

    @property
    def _limit(self) -> int:
        """Return how many rows a statement may bring: those known already may be among them."""
        return self._service.limits.max_included + len(self._known) - len(self.rows)

    def _targets(self, resource_type: str, code: str) -> tuple[str, ...]:
        return self._service.registry.for_type(resource_type)[code].targets

    def _salt(self, resource_type: str, code: str) -> int:
        return self._service.hasher.salt(self._ctx.tenant.id, resource_type, code)

    def _allowed(self, types: Iterable[str], letters: str) -> Mapping[Tree, list[str]]:
        """Return the types by each permission that they have; those that the grant may not see are left out."""
        found: dict[Tree, list[str]] = {}
        for name in sorted(set(types) & TYPE_CODES.keys()):
            try:
                restrict = all_of(visible(self._ctx, self._service.rules, name, letter) for letter in letters)
            except Forbidden:
                continue
            if not isinstance(restrict, Nothing):
                found.setdefault(restrict, []).append(name)
        return found
