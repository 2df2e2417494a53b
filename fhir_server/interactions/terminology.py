"""Which codes a stored value set holds, and what a stored code system subsumes, as keys for a search.

http://hl7.org/fhir/R4/valueset.html#compositions

Only what the tenant has stored and the grant may search is drawn on. What was worked out is kept with the rows and
versions that it came from; before it is used again, one statement asks whether these are still the ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import psycopg

from fhir_server.context import Context
from fhir_server.errors import Busy, Invalid
from fhir_server.interactions.service import Service
from fhir_server.search.terminology import hashes, keys
from fhir_server.search.terminology_codes import Code, Codes, contained, listed
from fhir_server.search.terminology_rows import BODIES, MATCHING, Definition, key_of, newest, stored
from fhir_server.search.terminology_system import CodeSystem
from fhir_server.search.tree import Coded, Tree
from fhir_server.smart.policy import visible
from fhir_server.store.wire import Statement

# How deep value sets may include one another, and how many definitions one expansion may draw on.
_MAX_DEPTH = 20
_MAX_DEFINITIONS = 200
_MAX_PATTERN = 500
# How many codes one expansion may look at; each step counts as some more, and a pattern, which may take long, as many.
_MAX_WORK = 3_000_000
_STEP, _PATTERN = 100, 300_000
# A body beyond this, or a filter over more codes, is worked on a thread, so that other requests go on.
_LARGE = 256 * 1024
_MANY = 10_000
_REGEX_TIMEOUT = "set local statement_timeout = '2s'"

_Row = tuple[int, int]
_Wanted = tuple[Definition, str, int]


class TooMuch(ValueError):
    """An expansion takes too much work; no stored one stands in for it, since that would be as much work again."""


class Expansion(msgspec.Struct, frozen=True):
    """Hashes of codes, with where they were looked for and what was found there."""

    hashes: frozenset[int]
    wanted: tuple[_Wanted, ...]
    seen: frozenset[_Row]


async def coded(service: Service, ctx: Context, node: Coded) -> Tree:
    """Return the node as keys. Raises Invalid, naming the parameter, where the terminology cannot answer."""
    key = (ctx.tenant.id, node.relation, node.canonical, node.code, node.kinds)
    known: Expansion | None = service.kept.get(key)
    if known is not None:
        rows = await _Reader(service, ctx).rows(known.wanted)
        if frozenset(rows) == known.seen:
            return keys(known.hashes, node.salt)
    reader = _Reader(service, ctx)
    try:
        codes = await _codes(reader, node)
    except ValueError as problem:
        raise Invalid(f"{node.name}: {problem}", f"http.{node.name}") from problem
    found = hashes(codes, node.kinds, service.hasher)
    service.kept.put(key, Expansion(found, tuple(reader.wanted), frozenset(reader.seen)), 10 + len(found))
    return keys(found, node.salt)


async def _codes(reader: _Reader, node: Coded) -> Codes:
    if node.relation == "in":
        return await _ValueSets(reader).codes(node.canonical, ())
    system = await reader.system(node.canonical, "")
    reached = system.below(node.code) if node.relation == "below" else system.above(node.code)
    return reader.limited(listed(node.canonical, reached))


class _Reader:
    """Reads definitions under the grant's permission, and remembers what it looked for and found."""

    def __init__(self, service: Service, ctx: Context) -> None:
        self._service, self._ctx = service, ctx
        self.wanted: dict[_Wanted, None] = {}
        self.seen: set[_Row] = set()
        self._work = 0

    def spend(self, work: int) -> None:
        """Count codes that are looked at; raise ValueError where they are too many."""
        self._work += _STEP + work
        if self._work > _MAX_WORK:
            raise TooMuch("its definition takes more work than this server gives to one")

    def limited(self, codes: Codes) -> Codes:
        """Return the codes; raise ValueError where there are too many."""
        self.require_few(len(codes.listed))
        return codes

    def require_few(self, number: int) -> None:
        """Raise ValueError where codes are too many to be searched for."""
        most = self._service.limits.max_expansion
        if number > most:
            raise ValueError(f"more than the {most} codes that this server searches for at a time")

    async def rows(self, wanted: Sequence[_Wanted]) -> list[_Row]:
        """Return rows and versions of definitions. Raises Forbidden where no scope allows to search them."""
        service, ctx = self._service, self._ctx
        kinds = dict.fromkeys(one[0] for one in wanted)
        allowed: dict[str, Tree] = {kind: visible(ctx, service.rules, kind, "s") for kind in kinds}
        statement = stored(wanted, ctx.tenant.id, allowed)
        found = await service.db.fetch(ctx.tenant.id, statement.sql, statement.params, custom_plan=True)
        return [(row[0], row[1]) for row in found]

    async def value_set(self, canonical: str) -> Mapping[str, Any]:
        """Return a ValueSet by canonical URL or `ValueSet/[id]`. Raises ValueError where there is none."""
        url, _, version = canonical.partition("|")
        return await self._newest("ValueSet", url, version, await self._rows_of("ValueSet", canonical))

    async def system(self, url: str, version: str) -> CodeSystem:
        """Return a CodeSystem. Raises ValueError where there is none."""
        rows = await self._rows_of("CodeSystem", url)
        known: CodeSystem | None = self._service.kept.get((self._ctx.tenant.id, "system", *rows[0])) if rows else None
        if len(rows) == 1 and known is not None and version in ("", known.version):
            return known
        found = await self._newest("CodeSystem", url, version, rows)
        kept = (self._ctx.tenant.id, "system", *found["row"])
        system: CodeSystem | None = self._service.kept.get(kept)
        if system is None:
            system = await asyncio.to_thread(CodeSystem, found)
            self._service.kept.put(kept, system, 10 + len(system))
        return system

    async def _rows_of(self, kind: Definition, canonical: str) -> list[_Row]:
        """Return the rows of all versions, and remember that they were looked for."""
        service, ctx = self._service, self._ctx
        one = (kind, *key_of(kind, canonical, service.hasher, ctx.tenant.id))
        self.wanted[one] = None
        if len(self.wanted) > _MAX_DEFINITIONS:
            raise ValueError(f"more than {_MAX_DEFINITIONS} value sets and code systems take part")
        rows = await self.rows([one])
        self.seen.update(rows)
        return rows

    async def _newest(self, kind: Definition, url: str, version: str, rows: Sequence[_Row]) -> Mapping[str, Any]:
        chosen = newest([await self._body(row) for row in await self._bodies(rows)], version)
        if chosen is None:
            told = f" in version {version[:100]}" if version else ""
            raise ValueError(f"the {kind} {url[:200]} is not stored here{told}")
        return chosen

    async def _bodies(self, rows: Sequence[_Row]) -> list[tuple[int, int, bytes]]:
        """Return the bodies; a row that was changed since it was listed counts as it is now."""
        service, tenant = self._service, self._ctx.tenant.id
        if not rows:
            return []
        found = await service.db.fetch(tenant, BODIES, (tenant, [rid for rid, _ in rows]))
        return [(row[0], row[1], row[2]) for row in found]

    async def _body(self, row: tuple[int, int, bytes]) -> dict[str, Any]:
        rid, version, body = row
        decode = msgspec.json.decode
        resource = await asyncio.to_thread(decode, body) if len(body) > _LARGE else decode(body)
        return {**resource, "row": (rid, version)}

    async def matching(self, texts: Sequence[str], pattern: str) -> frozenset[str]:
        """Return the texts that match a pattern as a whole, asked of PostgreSQL, which can be stopped."""
        if len(pattern) > _MAX_PATTERN:
            raise ValueError(f"a pattern longer than {_MAX_PATTERN} characters")
        asked: Statement = (MATCHING, (list(texts), f"^(?:{pattern})$"))
        try:
            _, rows = await self._service.db.run(self._ctx.tenant.id, (_REGEX_TIMEOUT, ()), asked)
        except psycopg.DataError as problem:
            raise ValueError(f"the pattern {pattern[:100]!r} is no regular expression") from problem
        except Busy as problem:
            raise ValueError(f"the pattern {pattern[:100]!r} takes too long") from problem
        return frozenset(row[0] for row in rows)


class _ValueSets:
    """Works out the codes of value sets, those that they include among them."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._done: dict[str, Codes] = {}

    async def codes(self, canonical: str, path: tuple[tuple[int, int], ...]) -> Codes:
        """Return the codes; `path` are the value sets that led here. Raises ValueError."""
        if canonical in self._done:
            return self._done[canonical]
        value_set = await self._reader.value_set(canonical)
        row = value_set["row"]
        if row in path:
            raise ValueError(f"the ValueSet {canonical[:200]} includes itself")
        if len(path) == _MAX_DEPTH:
            raise ValueError(f"value sets include one another more than {_MAX_DEPTH} deep")
        found = self._reader.limited(await self._composed(canonical, value_set, (*path, row)))
        self._done[canonical] = found
        return found

    async def _composed(self, canonical: str, value_set: Mapping[str, Any], path: tuple[_Row, ...]) -> Codes:
        """Return the codes by definition or, where it cannot be followed or there is none, those of the expansion."""
        expanded = contained(value_set["expansion"]) if "expansion" in value_set else None
        if "compose" not in value_set:
            if expanded is None:
                raise ValueError(f"the ValueSet {canonical[:200]} has no definition and no whole expansion")
            return expanded
        try:
            return await self._defined(value_set["compose"], path)
        except TooMuch:
            raise
        except ValueError:
            if expanded is None:
                raise
            return expanded

    async def _defined(self, compose: Mapping[str, Any], path: tuple[_Row, ...]) -> Codes:
        found = await self._together(compose["include"], path, few=True)
        excluded = await self._together(compose.get("exclude", ()), path, few=False)
        for url in found.broken(excluded):
            found = await self._enumerated(found, url)
        found = found.difference(excluded)
        return found if compose.get("inactive", True) else await self._active(found)

    async def _together(self, parts: Sequence[Mapping[str, Any]], path: tuple[_Row, ...], *, few: bool) -> Codes:
        """Return the codes of all includes or excludes; `few` says that they are to be searched for."""
        codes: set[Code] = set()
        whole: set[str] = set()
        for part in parts:
            found = await self._part(part, path)
            self._reader.spend(len(found.listed))
            codes |= found.listed
            whole |= found.whole
            if few:
                self._reader.require_few(len(codes))
        return Codes(frozenset(codes), frozenset(whole))

    async def _enumerated(self, found: Codes, url: str) -> Codes:
        """Return the set with the codes of a system listed, where all of them belong to it."""
        system = await self._reader.system(url, "")
        return self._reader.limited(Codes(found.listed | listed(url, system.codes()).listed, found.whole - {url}))

    async def _active(self, found: Codes) -> Codes:
        for url in found.whole:
            found = await self._enumerated(found, url)
        for url in {system for system, _ in found.listed}:
            system = await self._reader.system(url, "")
            self._reader.spend(len(system))
            gone = listed(url, [code for code in system.display if system.inactive(code)])
            found = found.difference(gone)
        return found

    async def _part(self, part: Mapping[str, Any], path: tuple[_Row, ...]) -> Codes:
        """Return the codes of one include or exclude: what its system selects and all of its value sets hold."""
        sets = [await self.codes(canonical, path) for canonical in part.get("valueSet", ()) if canonical]
        if system := part.get("system"):
            sets.insert(0, await self._of_system(system, part))
        if not sets:
            raise ValueError("a value set includes neither a system nor a value set")
        found = sets[0]
        for other in sets[1:]:
            self._reader.spend(len(found.listed) + len(other.listed))
            found = found.intersection(other)
        return found

    async def _of_system(self, url: str, part: Mapping[str, Any]) -> Codes:
        if concepts := part.get("concept"):
            return listed(url, [concept["code"] for concept in concepts if "code" in concept])
        if not part.get("filter"):
            return Codes(whole=frozenset((url,)))
        system = await self._reader.system(url, part.get("version", ""))
        codes = system.codes()
        for one in part["filter"]:
            codes &= await self._filtered(system, one)
        return listed(url, codes)

    async def _filtered(self, system: CodeSystem, one: Mapping[str, Any]) -> frozenset[str]:
        name, operator, value = one.get("property", ""), one.get("op", ""), one.get("value", "")
        self._reader.spend(len(system))
        if operator != "regex":
            if len(system) > _MANY:
                return await asyncio.to_thread(system.selected, name, operator, value)
            return system.selected(name, operator, value)
        self._reader.spend(_PATTERN)
        texts = system.texts(name)
        hits = await self._reader.matching(sorted({text for found in texts.values() for text in found}), value)
        return frozenset(code for code, found in texts.items() if not hits.isdisjoint(found))
