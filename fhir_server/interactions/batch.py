"""batch and transaction: several requests in one. http://hl7.org/fhir/R4/http.html#transaction

A batch entry goes back through the dispatch of single requests. The writes of a transaction become one call of
`commit`, so that they share a handful of statements and stand or fall together; its reads see what it wrote.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from conformance.issue import outcome
from conformance.structures import STORABLE
from fhir_server.context import Context
from fhir_server.errors import FhirError, Invalid, NotAllowed, TooLarge
from fhir_server.interactions.body import instant
from fhir_server.interactions.bundle import bundle, entry
from fhir_server.interactions.create import create_of
from fhir_server.interactions.delete import delete_of
from fhir_server.interactions.draft import Save, Saved
from fhir_server.interactions.entries import Entry, parse_bundle, request_of
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.patch import patch_of
from fhir_server.interactions.service import Service
from fhir_server.interactions.update import update_of
from fhir_server.interactions.write import commit

_TYPES = frozenset(STORABLE)
Dispatch = Callable[[Service, Context, Request], Awaitable[Response]]


async def process(service: Service, ctx: Context, request: Request, dispatch: Dispatch) -> Response:
    """Run a batch or transaction bundle and return its response bundle, entries in the order they came."""
    kind, entries = parse_bundle(request.body)
    if len(entries) > service.limits.max_entries:
        raise TooLarge(f"{len(entries)} entries; this server takes {service.limits.max_entries} at a time")
    prefer, ctx = request.headers.get("prefer"), msgspec.structs.replace(ctx, alone=False)
    if kind == "batch":
        answers = _Answers(service.limits.max_answers)
        for n, item in enumerate(entries):
            answers.add(await _alone(service, ctx, item, f"Bundle.entry[{n}]", prefer, answers.within(dispatch)))
    elif kind == "transaction":
        answers = await _together(service, ctx, entries, prefer, dispatch)
    else:
        raise Invalid(f"a Bundle of type {kind} cannot be processed here; send batch or transaction", "Bundle.type")
    return Response(200, bundle(f"{kind}-response", answers.told, (), ctx.now))


class _Answers:
    """The answers of a bundle: small requests may have large ones, and all of them are in memory at a time."""

    def __init__(self, most: int) -> None:
        self.told: list[bytes] = []
        self._most = self._left = most

    def add(self, told: bytes) -> None:
        """Take the next answer."""
        self.told.append(told)
        self._left -= len(told)

    def within(self, dispatch: Dispatch) -> Dispatch:
        """Return the dispatch that refuses reads, operations among them, once the answers are too large."""
        if self._left > 0:
            return dispatch

        async def refusing(service: Service, ctx: Context, request: Request) -> Response:
            if request.method in ("GET", "HEAD") or (request.path[-1:] and request.path[-1].startswith(("_", "$"))):
                raise TooLarge(f"the answers before this one have over {self._most} bytes: ask for it by itself")
            return await dispatch(service, ctx, request)

        return refusing


async def _alone(
    service: Service, ctx: Context, item: Entry, path: str, prefer: str | None, dispatch: Dispatch
) -> bytes:
    try:
        request = request_of(item, path, prefer)
    except FhirError as problem:
        return _failed(problem)
    return await _told(service, ctx, request, dispatch)


async def _told(service: Service, ctx: Context, request: Request, dispatch: Dispatch) -> bytes:
    """Return the entry of a request by itself; of a transaction's reads too, since its writes stand when they run."""
    try:
        return _entry(request, await dispatch(service, ctx, request))
    except FhirError as problem:
        return _failed(problem)


def _failed(problem: FhirError) -> bytes:
    return entry(None, None, response=(str(problem.status),), outcome=outcome(problem.issues))


def _entry(request: Request, answer: Response) -> bytes:
    status, headers = str(answer.status), answer.headers
    body = answer.body if request.method != "HEAD" else b""
    place = (status, headers.get("etag", ""), "", headers.get("location", ""))
    return entry(None, body or None, response=place)


async def _together(
    service: Service, ctx: Context, entries: Sequence[Entry], prefer: str | None, dispatch: Dispatch
) -> _Answers:
    requests = [request_of(item, f"Bundle.entry[{n}]", prefer) for n, item in enumerate(entries)]
    saves = saves_of(service, entries, prefer)
    # One statement writes everything, deletions included, so the specification's order DELETE, POST, PUT holds by
    # itself: no resource may stand twice in a transaction. Reads come last.
    written = dict(zip(saves, await commit(service, ctx, list(saves.values())), strict=True)) if saves else {}
    answers = _Answers(service.limits.max_answers)
    for n, request in enumerate(requests):
        if n in written:
            answers.add(_written(ctx, written[n], prefer))
        else:
            answers.add(await _told(service, ctx, request, answers.within(dispatch)))
    return answers


def saves_of(service: Service, entries: Sequence[Entry], prefer: str | None) -> dict[int, Save]:
    """Return the writes of a transaction by entry number; raise for an entry that is neither a write nor a read."""
    _distinct(entries)
    asked = ((n, item, f"Bundle.entry[{n}]") for n, item in enumerate(entries))
    found = ((n, _save(service, request_of(item, path, prefer), item, path)) for n, item, path in asked)
    return {n: save for n, save in found if save}


def _distinct(entries: Sequence[Entry]) -> None:
    """Refuse two entries with one fullUrl: a reference to it could mean either (bdl-7)."""
    known: set[str] = set()
    for n, url in enumerate(item.fullUrl for item in entries):
        if url in known:
            raise Invalid(f"the fullUrl {url[:200]} stands more than once", f"Bundle.entry[{n}].fullUrl")
        known.update([url] if url else ())


def _save(service: Service, request: Request, item: Entry, path: str) -> Save | None:
    """Return the write that an entry asks for, None for a read; raise where it is neither."""
    where = f"{path}.resource"
    save: Save | None = None
    match request.method, request.path:
        case "GET" | "HEAD", _:
            return None
        case "POST", (resource_type,) if resource_type in _TYPES:
            save = create_of(request, where, item.fullUrl)
        case "PUT", (resource_type, *rest) if resource_type in _TYPES and len(rest) < 2:
            save = update_of(service, request, where, item.fullUrl)
        case "PATCH", (resource_type, *rest) if resource_type in _TYPES and len(rest) < 2:
            save = patch_of(service, request, where, item.fullUrl)
        case "DELETE", (resource_type, *rest) if resource_type in _TYPES and len(rest) < 2:
            save = delete_of(service, request, path)
    if save is not None:
        return msgspec.structs.replace(save, linked=True)
    address = "/".join(request.path)
    raise NotAllowed(f"{request.method} {address} is not supported in a transaction", f"{path}.request")


def _written(ctx: Context, result: Saved, prefer: str | None) -> bytes:
    location = f"{ctx.base}/{result.type}/{result.id}/_history/{result.version}" if result.body else ""
    values = (str(result.status), f'W/"{result.version}"', instant(result.updated), location)
    body = result.body if prefer and "representation" in prefer else None
    return entry(None, body, response=values)
