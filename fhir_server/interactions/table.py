"""The table of interactions: router, CapabilityStatement, permission check and documentation read the same rows.

http://hl7.org/fhir/R4/http.html#summary
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from conformance.r4 import facts
from conformance.structures import STORABLE
from fhir_server.context import Context
from fhir_server.errors import FhirError, NotAllowed, NotFound
from fhir_server.interactions import audit_search, batch, trail
from fhir_server.interactions.create import create
from fhir_server.interactions.current import current
from fhir_server.interactions.delete import delete
from fhir_server.interactions.docref import docref
from fhir_server.interactions.everything import everything
from fhir_server.interactions.explain import DEFINITION as EXPLAIN
from fhir_server.interactions.explain import explain_access
from fhir_server.interactions.history import history, system_history, type_history, vread
from fhir_server.interactions.lastn import lastn
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.meta import meta, meta_add, meta_delete
from fhir_server.interactions.meta_in_use import meta_in_use
from fhir_server.interactions.patch import patch
from fhir_server.interactions.progress import DEFINITION as PROGRESS
from fhir_server.interactions.progress import progress
from fhir_server.interactions.read import read
from fhir_server.interactions.search import post_search, search
from fhir_server.interactions.service import Service
from fhir_server.interactions.signed_url import DEFINITION as SIGNED_URL
from fhir_server.interactions.signed_url import signed_url
from fhir_server.interactions.update import update
from fhir_server.smart.audit_sight import TYPE

Handler = Callable[[Service, Context, Request], Awaitable[Response]]


class Row(msgspec.Struct, frozen=True):
    """One interaction: where it answers, its FHIR code, and its handler, which asks the policy.

    An operation names its definition, in which {type} stands for the type of the address, and the types that have it.
    """

    method: str
    shape: tuple[str, ...]
    code: str
    handler: Handler
    definition: str = ""
    types: tuple[str, ...] = STORABLE


async def transaction(service: Service, ctx: Context, request: Request) -> Response:
    """Process a batch or transaction posted to the base."""
    return await batch.process(service, ctx, request, dispatch)


_HL7 = "http://hl7.org/fhir/OperationDefinition/"
_META = f"{_HL7}Resource-meta"
_EVERYTHING = f"{_HL7}{{type}}-everything"
_DOCREF = "http://hl7.org/fhir/us/core/OperationDefinition/docref"
_OF_ONE_RECORD = ("Patient", "Encounter")

TABLE: tuple[Row, ...] = (
    Row("GET", ("{type}", "{id}"), "read", read),
    Row("GET", ("{type}", "{id}", "_history", "{version}"), "vread", vread),
    Row("GET", ("{type}", "{id}", "_history"), "history-instance", history),
    Row("GET", ("{type}", "_history"), "history-type", type_history),
    Row("GET", ("_history",), "history-system", system_history),
    Row("GET", ("{type}",), "search-type", search),
    Row("POST", ("{type}", "_search"), "search-type", post_search),
    Row("GET", ("{compartment}", "{id}", "{member}"), "search-type", search),
    Row("POST", ("{compartment}", "{id}", "{member}", "_search"), "search-type", post_search),
    Row("GET", (), "search-system", search),
    Row("POST", ("_search",), "search-system", post_search),
    Row("POST", ("{type}",), "create", create),
    Row("PUT", ("{type}", "{id}"), "update", update),
    Row("PUT", ("{type}",), "update", update),
    Row("PATCH", ("{type}", "{id}"), "patch", patch),
    Row("PATCH", ("{type}",), "patch", patch),
    Row("DELETE", ("{type}", "{id}"), "delete", delete),
    Row("DELETE", ("{type}",), "delete", delete),
    Row("GET", ("{type}", "{id}", "$meta"), "operation", meta, _META),
    Row("GET", ("{type}", "$meta"), "operation", meta_in_use, _META),
    Row("GET", ("$meta",), "operation", meta_in_use, _META),
    Row("POST", ("{type}", "{id}", "$meta"), "operation", meta, _META),
    Row("POST", ("{type}", "$meta"), "operation", meta_in_use, _META),
    Row("POST", ("$meta",), "operation", meta_in_use, _META),
    Row("POST", ("{type}", "{id}", "$meta-add"), "operation", meta_add, f"{_META}-add"),
    Row("POST", ("{type}", "{id}", "$meta-delete"), "operation", meta_delete, f"{_META}-delete"),
    Row("GET", ("{type}", "{id}", "$everything"), "operation", everything, _EVERYTHING, _OF_ONE_RECORD),
    Row("POST", ("{type}", "{id}", "$everything"), "operation", everything, _EVERYTHING, _OF_ONE_RECORD),
    Row("GET", ("{type}", "$everything"), "operation", everything, _EVERYTHING, ("Patient",)),
    Row("POST", ("{type}", "$everything"), "operation", everything, _EVERYTHING, ("Patient",)),
    Row("GET", ("{type}", "$lastn"), "operation", lastn, f"{_HL7}Observation-lastn", ("Observation",)),
    Row("POST", ("{type}", "$lastn"), "operation", lastn, f"{_HL7}Observation-lastn", ("Observation",)),
    Row("GET", ("{type}", "$docref"), "operation", docref, _DOCREF, ("DocumentReference",)),
    Row("POST", ("{type}", "$docref"), "operation", docref, _DOCREF, ("DocumentReference",)),
    Row("GET", ("{type}", "{id}", "$signed-url"), "operation", signed_url, SIGNED_URL, ("DocumentReference",)),
    Row("POST", ("{type}", "{id}", "$signed-url"), "operation", signed_url, SIGNED_URL, ("DocumentReference",)),
    Row("GET", ("{type}", "{id}", "$explain-access"), "operation", explain_access, EXPLAIN),
    Row("GET", ("{type}", "{id}", "$progress"), "operation", progress, PROGRESS, ("SearchParameter",)),
    Row("POST", (), "transaction", transaction),
)
# AuditEvents are made from the audit's rows: they are read and searched, and written by nobody.
AUDIT: tuple[Row, ...] = (
    Row("GET", ("{type}", "{id}"), "read", audit_search.read),
    Row("GET", ("{type}",), "search-type", audit_search.search),
    Row("POST", ("{type}", "_search"), "search-type", audit_search.post_search),
    Row("GET", ("{compartment}", "{id}", "{member}"), "search-type", audit_search.of_compartment),
)


def operations(resource_type: str) -> list[dict[str, str]]:
    """Return what the CapabilityStatement says of the operations of a type; "" asks for those of the whole system."""
    of_system = [row for row in TABLE if len(row.shape) == 1]
    of_type = [row for row in TABLE if len(row.shape) > 1 and resource_type in row.types and resource_type != TYPE]
    rows = [row for row in (of_type if resource_type else of_system) if row.code == "operation"]
    found = {row.shape[-1][1:]: row.definition.replace("{type}", resource_type) for row in rows}
    return [{"name": name, "definition": found[name]} for name in sorted(found)]


def of_every_type(service: Service) -> dict[str, Any]:
    """Return what the CapabilityStatement says of every type: of criteria."""
    return {
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": True,
        "conditionalDelete": "single" if service.limits.conditional_delete == 1 else "multiple",
    }


_TYPES = frozenset(STORABLE)
# These ask nothing of the search parameters.
_BY_ID = frozenset(("read", "vread", "history-instance", "history-type", "history-system"))
_OF_THE_BASE = frozenset(row.shape for row in TABLE if len(row.shape) == 1 and row.shape != ("{type}",))


def _shape(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the row shape that a path has: `_history` and `_search` stand for themselves."""
    if path in _OF_THE_BASE:
        return path
    if len(path) > 2 and path[0] in facts.compartments() and (path[2] == "*" or path[2] in _TYPES):
        return ("{compartment}", "{id}", "{member}", *path[3:])
    if path and path[-1].startswith("$"):
        return ("{type}", "{id}", *path[2:]) if len(path) > 2 else ("{type}", *path[1:])
    if len(path) > 1 and path[1] in ("_search", "_history"):
        return ("{type}", *path[1:])
    return ("{type}", "{id}", "_history", "{version}", *path[4:])[: max(len(path), 0)] if _plain(path) else path


def _plain(path: tuple[str, ...]) -> bool:
    return len(path) <= 2 or path[2] == "_history"


_BY_SHAPE = {(row.method, row.shape): row for row in TABLE}
_OF_AUDIT = {(row.method, row.shape): row for row in AUDIT}
_SHAPES = frozenset(row.shape for row in TABLE)


def find(method: str, path: tuple[str, ...]) -> Row:
    """Return the row for a request; raise NotFound for an unknown type or address, NotAllowed for its method."""
    if path and path[0] not in _TYPES and path not in _OF_THE_BASE:
        raise NotFound(f"{path[0][:80]!r} is not a resource type that is stored here")
    shape = _shape(path)
    is_audit = path[:1] == (TYPE,) or path[2:3] == (TYPE,)
    by_shape = _OF_AUDIT if is_audit else _BY_SHAPE
    row = by_shape.get(("GET" if method == "HEAD" else method, shape))
    if row is not None and (shape in _OF_THE_BASE or not path or path[0] in row.types):
        return row
    if row is None and shape in _SHAPES:
        allowed = sorted(m for m, s in by_shape if s == shape)
        told = f"{method} is not supported here; {', '.join(allowed) or 'nothing'} is"
        raise NotAllowed(told, allowed=[*allowed, *(["HEAD"] if "GET" in allowed else [])])
    raise NotFound(f"nothing answers at {'/'.join(path)[:200]!r}")


async def dispatch(service: Service, ctx: Context, request: Request) -> Response:
    """Run one request; the handlers ask the policy before they touch a row. What it saw stands in the trail then."""
    before = len(ctx.trail)
    action = request.method
    try:
        row = find(request.method, request.path)
        action = row.code if row.code != "operation" else row.shape[-1]
        if row.code in _BY_ID:
            answer = await row.handler(service, ctx, request)
        else:
            answer = await current(service, ctx, request, row.handler)
    except FhirError as problem:
        ctx.trail[before:] = [trail.refused(request, action, problem.status, problem.issues)]
        raise
    if len(ctx.trail) == before and action not in trail.WRITTEN:
        ctx.trail.append(trail.done(request, action, answer.status))
    return answer
