"""A tenant's resources, written one by one to a real database, and searched in pages.

What a search must give is told from the resources themselves, without the index. http://hl7.org/fhir/R4/search.html#sort
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key
from typing import Any

import msgspec

from conformance.r4.types import TYPE_CODES
from conformance.structures import decode
from fhir_server.interactions.sorting import sorted_rows
from fhir_server.search import plan, sort_values
from fhir_server.search.date import interval
from fhir_server.search.page import Pager
from fhir_server.search.request import parse
from fhir_server.search.text import entry
from fhir_server.search.tree import Everything, Tree
from fhir_server.store.database import Database
from fhir_server.store.resources import Rids, Write, current, write
from fhir_server.store.wire import Rows
from tests.search.world import BASE, NOW, Limits, hasher, indexer, registry

Resource = dict[str, Any]
Pair = tuple[str, str]
PAGER = Pager(b"a secret of the tests")
START = datetime(2024, 1, 1, tzinfo=UTC)


def many(*path: str) -> Callable[[Resource], list[Any]]:
    """Return what finds the values at a path, of lists and of single elements."""

    def find(resource: Resource) -> list[Any]:
        found: list[Any] = [resource]
        for name in path:
            inside = [item[name] for item in found if name in item]
            found = [v for one in inside for v in (one if isinstance(one, list) else [one])]
        return found

    return find


def _codes(resource: Resource) -> list[str]:
    return many("code", "coding", "code")(resource) or many("code", "text")(resource)


# By parameter: the values that a resource is sorted by.
VALUES: Mapping[str, Callable[[Resource], list[Any]]] = {
    "family": lambda r: [entry(text) for text in many("name", "family")(r)],
    "birthdate": lambda r: [interval(text)[0] for text in many("birthDate")(r)],
    "gender": many("gender"),
    "identifier": many("identifier", "value"),
    "general-practitioner": lambda r: [
        text.removeprefix(f"{BASE}/") for text in many("generalPractitioner", "reference")(r)
    ],
    "_profile": many("meta", "profile"),
    "_id": many("id"),
    "deceased": lambda r: ["true" if r.get("deceasedBoolean") or "deceasedDateTime" in r else "false"],
    "phone": lambda r: [one["value"] for one in r.get("telecom", ()) if one["system"] == "phone"],
    "code": _codes,
    "value-quantity": lambda r: [float(number) for number in many("valueQuantity", "value")(r)],
    "date": lambda r: [interval(text)[0] for text in many("effectiveDateTime")(r)],
}


class Row(msgspec.Struct):
    """A resource as it is now."""

    resource: Resource
    updated: datetime

    def best(self, code: str, descending: bool) -> Any:
        """Return the value that counts, None where there is none."""
        if code == "_lastUpdated":
            return self.updated
        found = VALUES[code](self.resource)
        return (max(found) if descending else min(found)) if found else None


def compared(sort: str, a: Row, b: Row) -> int:
    """Return whether `a` comes before (-1), after (1) or beside (0) `b`: what has no value comes last."""
    for name in sort.split(","):
        code, descending = name.removeprefix("-"), name.startswith("-")
        one, two = a.best(code, descending), b.best(code, descending)
        if one == two:
            continue
        if one is None or two is None:
            return 1 if one is None else -1
        return 1 if (one > two) != descending else -1
    return 0


def in_order(sort: str, rows: Sequence[Row]) -> list[Row]:
    """Return the rows in order; those beside each other stay as they are."""
    return sorted(rows, key=cmp_to_key(lambda a, b: compared(sort, a, b)))


class Shelf:
    """The resources of one tenant."""

    def __init__(self, database: Database, tenant: int) -> None:
        self.rows: dict[str, Row] = {}
        self._database, self._tenant = database, tenant
        self._rids = Rids(database)
        self._now = START

    async def put(self, *resources: Resource) -> None:
        """Create or update."""
        self._now += timedelta(seconds=1)
        keys = [hasher().self_key(self._tenant, r["resourceType"], r["id"]) for r in resources]
        numbers = await self._rids.take(len(resources))
        async with self._database.transaction(self._tenant) as tx:
            found = await current(tx, sorted(keys))
            write(tx, [self._write(*one, found) for one in zip(numbers, keys, resources, strict=True)])
        for resource in resources:
            self.rows[resource["id"]] = Row(resource, self._now)

    def _write(self, rid: int, key: int, resource: Resource, found: Mapping[int, Any]) -> Write:
        kind, previous = resource["resourceType"], found.get(key)
        body = msgspec.json.encode(resource)
        entries = indexer().entries(self._tenant, BASE, kind, resource["id"], decode(kind, body))
        version = previous.version + 1 if previous else 1
        rid = previous.rid if previous else rid
        return Write(rid, TYPE_CODES[kind], resource["id"], version, self._now, body, entries, key, previous)

    async def delete(self, resource_id: str) -> None:
        """Delete."""
        self._now += timedelta(seconds=1)
        resource = self.rows.pop(resource_id).resource
        kind = resource["resourceType"]
        key = hasher().self_key(self._tenant, kind, resource_id)
        async with self._database.transaction(self._tenant) as tx:
            row = (await current(tx, [key]))[key]
            write(
                tx,
                [Write(row.rid, TYPE_CODES[kind], row.id, row.version + 1, self._now, None, None, key, row)],
            )

    def statement(self, kind: str, params: Sequence[Pair], restrict: Tree | None = None) -> plan.Statement:
        """Return the statement of a search."""
        return plan.select(self._request(kind, params), self._tenant, restrict or Everything())

    async def page(
        self, kind: str, params: Sequence[Pair], restrict: Tree | None = None
    ) -> tuple[list[str], str | None]:
        """Return the ids of a page and the token of the next."""
        request = PAGER.resume(self._request(kind, params), self._tenant, "tester")
        allowed = restrict or Everything()
        if sort_values.needed(request.sort):
            rows = await sorted_rows(self._fetched, [(request, allowed)], self._tenant, 10_000)
        else:
            rows = await self._fetched(plan.select(request, self._tenant, allowed))
        page = rows[: request.count]
        token = PAGER.sign(request, self._tenant, "tester", page[-1]) if len(rows) > request.count else None
        return [row[1] for row in page], token

    async def _fetched(self, made: plan.Statement) -> Rows:
        return await self._database.fetch(self._tenant, made.sql, made.params, custom_plan=True)

    async def ids(self, kind: str, *params: Pair, restrict: Tree | None = None) -> list[str]:
        """Return the ids of all pages."""
        found: list[str] = []
        token: str | None = ""
        while token is not None:
            page, token = await self.page(kind, [*params, *([("_cursor", token)] if token else [])], restrict)
            found += page
        return found

    def _request(self, kind: str, params: Sequence[Pair]) -> Any:
        given = {"registry": registry(), "hasher": hasher(), "limits": Limits(max_page=5000), "now": NOW}
        return parse(kind, params, tenant_id=self._tenant, base=BASE, **given)  # type: ignore[arg-type]
