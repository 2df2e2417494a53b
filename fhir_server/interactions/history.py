"""history of a resource, a type or everything, and vread. http://hl7.org/fhir/R4/http.html#history"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from conformance.r4.types import CODE_TYPES, TYPE_CODES
from conformance.structures import STORABLE, decode
from fhir_server.context import Context, Note
from fhir_server.errors import Forbidden, Gone, Invalid, NotFound
from fhir_server.interactions import answer, trail
from fhir_server.interactions.body import instant
from fhir_server.interactions.bundle import Link, bundle, entry, link
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.parameters import positive
from fhir_server.interactions.read import find, with_content
from fhir_server.interactions.service import Service
from fhir_server.interactions.subset import Subset, asked, cut
from fhir_server.interactions.versions import seen
from fhir_server.search import date
from fhir_server.search.plan import condition
from fhir_server.search.tree import Tree
from fhir_server.smart.masking import masked
from fhir_server.smart.policy import visible
from fhir_server.store import history as versions
from fhir_server.store.history import Group, Version, Window

_T = TypeVar("_T")
# By how many segments the address has.
_ACTIONS = {1: "history-system", 2: "history-type", 3: "history-instance"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MADE_HERE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TAKEN = frozenset(("_count", "_since", "_at", "_sort", "_summary", "_elements", "_cursor"))
# A page may be larger than the last, or show less of each version, without being of another history.
_OF_THE_WINDOW = frozenset(("_since", "_at", "_sort"))


async def vread(service: Service, ctx: Context, request: Request) -> Response:
    """Return one version; raise Gone for one that was the deletion."""
    found = await stored_version(service, ctx, request)
    return await with_content(service, ctx, found) if request.path[0] == "Binary" else found


async def stored_version(service: Service, ctx: Context, request: Request) -> Response:
    """Return one version as it is stored: of a Binary, without its content."""
    resource_type, resource_id, _, wanted = request.path
    row = await find(service, ctx, resource_type, resource_id)
    number = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 else 0
    if not 1 <= number <= row.version:
        raise NotFound(f"{resource_type}/{resource_id} has no version {wanted[:20]}")
    version = await versions.version(service.db, ctx.tenant.id, row, number)
    if version is None:
        raise NotFound(f"{resource_type}/{resource_id} has no version {wanted[:20]}")
    if not await seen(service, ctx, [version], "r"):
        raise NotFound(f"{resource_type}/{resource_id} has no version {wanted[:20]}")
    if version.body is None:
        raise Gone(f"version {wanted} of {resource_type}/{resource_id} is its deletion")
    body = cut(resource_type, masked(ctx, resource_type, version.body), asked(request.query, (resource_type,)))
    shown = answer.fresh(request, body, version.version, version.updated)
    for patient in _whose(service, ctx, version):
        ctx.trail.append(Note("vread", shown.status, row.type, row.id, version.version, patient))
    return shown


async def history(service: Service, ctx: Context, request: Request) -> Response:
    """Return the versions of one resource, the newest first, deletions as entries, in pages."""
    resource_type, resource_id, _ = request.path
    row = await find(service, ctx, resource_type, resource_id)
    window = msgspec.structs.replace(_window(service, ctx, request), rid=row.rid)
    total = None if window.since or window.at else row.version
    return await _page(service, ctx, request, [Group([TYPE_CODES[resource_type]])], window, total)


async def type_history(service: Service, ctx: Context, request: Request) -> Response:
    """Return the versions of all resources of a type that the grant may search."""
    return await _page(service, ctx, request, _groups(service, ctx, request.path[:1]), _window(service, ctx, request))


async def system_history(service: Service, ctx: Context, request: Request) -> Response:
    """Return the versions of all resources of the types that the grant may search."""
    return await _page(service, ctx, request, _groups(service, ctx, STORABLE), _window(service, ctx, request))


def _groups(service: Service, ctx: Context, types: Sequence[str]) -> list[Group]:
    """Return the types by what the grant may see of them; raise Forbidden where it may see none."""
    by_tree: dict[Tree, list[int]] = {}
    refused: Forbidden | None = None
    for name in types:
        try:
            tree = visible(ctx, service.rules, name, "s")
        except Forbidden as problem:
            refused = problem
            continue
        by_tree.setdefault(tree, []).append(TYPE_CODES[name])
    if refused and not by_tree:
        raise refused
    return [Group(codes, *condition(tree, ctx.tenant.id)) for tree, codes in by_tree.items()]


async def _page(
    service: Service, ctx: Context, request: Request, groups: Sequence[Group], window: Window, total: int | None = None
) -> Response:
    letter = "s" if total is None and window.rid is None else "r"
    wanted = asked(request.query, request.path[:1] if len(request.path) > 1 else STORABLE)
    larger = msgspec.structs.replace(window, count=window.count + 1)
    found = await versions.page(service.db, ctx.tenant.id, groups, larger)
    page = found[: window.count]
    address = "/".join((ctx.base, *request.path))
    links: list[Link] = [link("self", address, [*request.query, *request.look])]
    if len(found) > window.count:
        query = [pair for pair in request.query if pair[0] != "_cursor"]
        cursor = ("_cursor", _closed(service, ctx, request, page[-1]))
        links.append(link("next", address, [*query, cursor, *request.look]))
    shown = await seen(service, ctx, page, letter)
    told = total if len(shown) == len(page) else None
    whose = (patient for version in shown for patient in _whose(service, ctx, version))
    trail.found(ctx, request, _ACTIONS[len(request.path)], whose)
    return Response(200, bundle("history", [_entry(ctx, v, wanted) for v in shown], links, ctx.now, told))


def _whose(service: Service, ctx: Context, version: Version) -> set[int | None]:
    """Return whose data a version is: that of the resource's patient now, and of the one it named itself."""
    if version.body is None:
        return {version.patient}
    name = CODE_TYPES[version.type]
    own = service.indexer.entries(ctx.tenant.id, ctx.base, name, version.id, decode(name, version.body)).patient
    return {version.patient, own}


def _entry(ctx: Context, version: Version, wanted: Subset | None) -> bytes:
    name = CODE_TYPES[version.type]
    place = f"{name}/{version.id}"
    sent, status = ("PUT", place), "200"
    if version.version == 1:
        # Ids that are made here are UUIDs: any other was a client's own, in an update that created.
        sent, status = ("POST", name) if _MADE_HERE.fullmatch(version.id) else sent, "201"
    if version.body is None:
        sent, status = ("DELETE", place), "204"
    told = (status, f'W/"{version.version}"', instant(version.updated))
    body = cut(name, masked(ctx, name, version.body), wanted) if version.body is not None else None
    return entry(f"{ctx.base}/{place}", body, request=sent, response=told)


# ---- what is asked for ------------------------------------------------------------------------------------------


def _window(service: Service, ctx: Context, request: Request) -> Window:
    """Return what the parameters ask for; raise Invalid naming one that cannot be used."""
    given = dict(_single(request))
    count = _value(given, "_count", positive) or service.limits.default_page
    since, at = _value(given, "_since", date.parse), _value(given, "_at", date.parse)
    return Window(
        count=min(count, service.limits.max_page),
        since=since[0] if since else None,
        at=at,
        after=_opened(service, ctx, request, given["_cursor"]) if "_cursor" in given else None,
        descending=_value(given, "_sort", _descending) is not False,
    )


def _single(request: Request) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for name, value in request.query:
        if name not in _TAKEN:
            raise Invalid(
                f"history takes _count, _since, _at, _sort, _summary and _elements, not {name[:80]}",
                f"http.{name[:80]}",
            )
        if name in seen:
            raise Invalid(f"{name} is given more than once", f"http.{name}")
        seen.add(name)
        yield name, value


def _value(given: dict[str, str], name: str, read: Callable[[str], _T]) -> _T | None:
    if name not in given:
        return None
    try:
        return read(given[name])
    except (ValueError, OverflowError) as wrong:
        raise Invalid(f"{name}={given[name][:100]} cannot be used: {wrong}", f"http.{name}") from wrong


def _descending(text: str) -> bool:
    if text not in ("_lastUpdated", "-_lastUpdated"):
        raise ValueError("supported are _lastUpdated, -_lastUpdated")
    return text.startswith("-")


def _closed(service: Service, ctx: Context, request: Request, version: Version) -> str:
    # Microseconds since 1970, row, version.
    place = ((version.updated - _EPOCH) // _MICROSECOND, version.rid, version.version)
    return service.seal.close(place, _bound(ctx, request))


def _opened(service: Service, ctx: Context, request: Request, token: str) -> tuple[datetime, int, int]:
    place = service.seal.open(token, _bound(ctx, request), tuple[int, int, int])
    if place is None:
        raise Invalid("_cursor does not belong to this history: start again without it", "http._cursor")
    microseconds, rid, version = place
    return _EPOCH + microseconds * _MICROSECOND, rid, version


def _bound(ctx: Context, request: Request) -> tuple[object, ...]:
    """Return what a page token of a history is good for: its tenant, subject, address and window alone."""
    query = [pair for pair in request.query if pair[0] in _OF_THE_WINDOW]
    return "history", ctx.tenant.id, ctx.grant.subject, request.path, query
