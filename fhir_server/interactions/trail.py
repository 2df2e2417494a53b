"""What a request saw, for the audit, and what it was refused; committed before the answer leaves.

https://profiles.ihe.net/ITI/BALP/ · a write is audited in its own transaction, by save.py
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Self

from conformance.issue import Issue
from conformance.r4.types import TYPE_CODES
from fhir_server.context import Context, Grant, Note, Tenant
from fhir_server.errors import Busy, FhirError, TooMany
from fhir_server.interactions.message import Request
from fhir_server.interactions.service import Service
from fhir_server.store.recorder import Row

# These are audited as they are written, or entry by entry.
WRITTEN = frozenset(("create", "update", "patch", "delete", "transaction"))
_LONGEST = 8192
# Such a request costs nothing more: a flood of them must not become a flood of rows.
_TURNED_AWAY = (Busy, TooMany)


def found(ctx: Context, request: Request, action: str, patients: Iterable[int | None], type_: str = "") -> None:
    """Note a query: once for each patient of what it found, once without any where it found none's."""
    whose: list[int | None] = [*dict.fromkeys(one for one in patients if one is not None)]
    query, (code, resource_id) = text_of(request), _named(request)
    if type_ and TYPE_CODES[type_] != code:
        code, resource_id = TYPE_CODES[type_], None
    ctx.trail.extend(Note(action, 200, code, resource_id, patient=one, query=query) for one in whose or [None])


def refused(request: Request, action: str, status: int, issues: Iterable[Issue]) -> Note:
    """Return what is noted of a request that failed."""
    type_, resource_id = _named(request)
    told = "; ".join(issue.diagnostics for issue in issues)
    return Note(action, status, type_, resource_id, query=text_of(request), detail={"outcome": told[:2000]})


def done(request: Request, action: str, status: int) -> Note:
    """Return what is noted of a request that says no more of itself."""
    return Note(action, status, *_named(request), query=text_of(request))


class Audit:
    """Around a request: at its end what stands in its trail is committed, or why it failed.

    A request that fails for want of the database leaves nothing: it was shown nothing either.
    """

    def __init__(self, service: Service, tenant: Tenant, request: Request, now: datetime, request_id: str) -> None:
        self._service, self._tenant, self._request = service, tenant, request
        self._now, self._request_id = now, request_id
        self._ctx: Context | None = None

    def of(self, grant: Grant, base: str) -> Context:
        """Return the context of the request, now that it is known who asks."""
        self._ctx = Context(grant, base, self._now, self._request_id, self._request.peer)
        return self._ctx

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, failure: BaseException | None, __: object) -> None:
        trail = self._ctx.trail if self._ctx else []
        if failure is not None:
            if not isinstance(failure, Exception) or type(failure) in _TURNED_AWAY:
                return
            status, issues = (failure.status, failure.issues) if isinstance(failure, FhirError) else (500, ())
            if not trail or trail[-1].outcome != status:
                trail[:] = [refused(self._request, self._request.method, status, issues)]
        if notes := [note for note in trail if not note.kept]:
            grant, peer = self._ctx.grant if self._ctx else None, self._request.peer
            await self._service.recorder.record(
                [row_of(self._tenant, self._now, self._request_id, grant, peer, note) for note in notes]
            )


def row_of(tenant: Tenant, now: datetime, request_id: str, grant: Grant | None, peer: str | None, note: Note) -> Row:
    """Return the row of a note; `grant` None where nobody knows who asked."""
    return (
        str(tenant.id),
        now,
        note.action,
        grant.subject if grant else None,
        grant.client if grant else None,
        note.outcome,
        request_id,
        note.type,
        note.id,
        note.version,
        note.patient,
        grant.purpose if grant else None,
        (grant.jti or None) if grant else None,
        note.query,
        peer,
        note.detail,
    )


def text_of(request: Request) -> bytes:
    """Return the request as it came, with the form of a search, as far as it is kept."""
    is_form = request.body and request.address.partition(b"?")[0].endswith(b"/_search")
    form = b"\r\n\r\n" + request.body if is_form else b""
    return (request.method.encode() + b" " + request.address + form)[:_LONGEST]


def _named(request: Request) -> tuple[int | None, str | None]:
    """Return type and id of the address, as far as it has them."""
    path = request.path
    type_ = TYPE_CODES.get(path[0]) if path else None
    return type_, path[1] if type_ is not None and len(path) > 1 and path[1][:1] not in ("_", "$") else None
