"""AuditEvents: read and searched, made from the rows of the audit, and written by nobody.

http://hl7.org/fhir/R4/auditevent.html · https://profiles.ihe.net/ITI/TF/Volume2/ITI-81.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from conformance.r4.types import TYPE_CODES
from fhir_server.context import Context, Note
from fhir_server.errors import Invalid, NotFound
from fhir_server.interactions import answer, subset, trail
from fhir_server.interactions.audit_event import ACTIONS, event, id_of, place_of
from fhir_server.interactions.bundle import Link, bundle, entry, link
from fhir_server.interactions.message import Request, Response, preference
from fhir_server.interactions.parameters import positive
from fhir_server.interactions.service import Service
from fhir_server.search import date
from fhir_server.search.terms import prefixed, split, unescape
from fhir_server.smart.audit_sight import TYPE, sight
from fhir_server.store import audit_rows
from fhir_server.store.audit_rows import Told

Sql = tuple[str, tuple[object, ...]]
Query = Sequence[tuple[str, str]]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CODE = TYPE_CODES[TYPE]
_STEERING = ("_count", "_sort", "_cursor", "_total", "_summary", "_elements")
_SORTS = {"-date": False, "-_lastUpdated": False, "date": True, "_lastUpdated": True}
# Compartments that hold AuditEvents here, and the parameter that says so.
COMPARTMENTS = {"Patient": "patient", "Practitioner": "agent"}


async def read(service: Service, ctx: Context, request: Request) -> Response:
    """Return the AuditEvent of a row; raise NotFound where there is none that the grant may see."""
    resource_id = request.path[1]
    where, params = _both(sight(ctx, service.rules, "r"), _ids([resource_id]))
    rows = await audit_rows.page(service.db, ctx.tenant.id, where, params, 1)
    if not rows:
        raise NotFound(f"AuditEvent/{resource_id} is not known")
    ctx.trail.append(Note("read", 200, _CODE, resource_id, 1, rows[0].patient))
    body = subset.cut(TYPE, event(rows[0], ctx.base), subset.asked(request.query, (TYPE,)))
    return answer.fresh(request, body, 1, rows[0].at)


async def search(service: Service, ctx: Context, request: Request) -> Response:
    """Return the searchset, the newest first unless `_sort=date` asks otherwise."""
    return await _searched(service, ctx, request, "AuditEvent", request.query)


async def post_search(service: Service, ctx: Context, request: Request) -> Response:
    """Return the searchset of a form."""
    form = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
    return await _searched(service, ctx, request, "AuditEvent", [*request.query, *form])


async def of_compartment(service: Service, ctx: Context, request: Request) -> Response:
    """Return what was done with the record of a patient, or by a practitioner."""
    owner, owner_id, _ = request.path
    if owner not in COMPARTMENTS:
        raise Invalid(f"AuditEvents are not looked for by {owner}; by {' and '.join(COMPARTMENTS)} they are")
    within = (COMPARTMENTS[owner], f"{owner}/{owner_id}")
    return await _searched(service, ctx, request, "/".join(request.path), request.query, within)


async def _searched(
    service: Service, ctx: Context, request: Request, address: str, query: Query, *within: tuple[str, str]
) -> Response:
    allowed = sight(ctx, service.rules, "s")
    query = _known(service, request, query)
    given = {name: value for name, value in query if name in _STEERING}
    count = min(_count(given.get("_count")) or service.limits.default_page, service.limits.max_page)
    oldest_first = _oldest_first(given.get("_sort"))
    asked = [pair for pair in [*within, *query] if pair[0] not in _STEERING]
    condition = _both(allowed, *(_condition(service, ctx, name, value) for name, value in asked))
    bound = ("audit", ctx.tenant.id, ctx.grant.subject, address, asked, oldest_first)
    where, params = _both(condition, _after(service, given.get("_cursor"), bound, oldest_first))
    wanted = subset.asked(query, (TYPE,), counts=True)
    rows: list[Told] = []
    if given.get("_summary") != "count":
        rows = await audit_rows.page(service.db, ctx.tenant.id, where, params, count + 1, oldest_first=oldest_first)
    total = None
    if given.get("_summary") == "count" or given.get("_total") in ("accurate", "estimate"):
        total = await audit_rows.count(service.db, ctx.tenant.id, *condition)
    page = rows[:count]
    whose = {value for name, value in asked if name == "patient"}
    trail.found(ctx, request, "search-type", [_patient_key(service, ctx, one) for one in whose], TYPE)
    links = [link("self", f"{ctx.base}/{address}", [*query, *request.look])]
    links += _next(service, ctx, address, query, request.look, page if len(rows) > count else [], bound)
    entries = [
        entry(
            f"{ctx.base}/AuditEvent/{id_of(row.at, row.id)}",
            subset.cut(TYPE, event(row, ctx.base), wanted),
            mode="match",
        )
        for row in page
    ]
    return Response(200, bundle("searchset", entries, links, ctx.now, total))


def _next(
    service: Service, ctx: Context, address: str, query: Query, look: Query, page: Sequence[Told], bound: object
) -> list[Link]:
    if not page:
        return []
    place = ((page[-1].at - _EPOCH) // _MICROSECOND, page[-1].id)
    rest = [pair for pair in query if pair[0] != "_cursor"]
    cursor = ("_cursor", service.seal.close(place, bound))
    return [link("next", f"{ctx.base}/{address}", [*rest, cursor, *look])]


def _known(service: Service, request: Request, query: Query) -> list[tuple[str, str]]:
    """Return the parameters that are known; raise Invalid for others unless the client prefers leniency."""
    handling = preference(request, "handling")
    lenient = handling == "lenient" if handling else service.limits.lenient
    unknown = [name for name, _ in query if name not in PARAMETERS and name not in _STEERING]
    if unknown and not lenient:
        told = f"{unknown[0][:80]} cannot be searched by here; {', '.join(PARAMETERS)} can"
        raise Invalid(told, f"http.{unknown[0][:80]}")
    return [pair for pair in query if pair[0] not in unknown]


def _count(text: str | None) -> int | None:
    try:
        return positive(text) if text is not None else None
    except ValueError as wrong:
        raise Invalid(f"_count={(text or '')[:80]} cannot be used: {wrong}", "http._count") from wrong


def _oldest_first(text: str | None) -> bool:
    if text is not None and text not in _SORTS:
        raise Invalid(f"AuditEvents are sorted by {', '.join(_SORTS)}, not {text[:80]}", "http._sort")
    return _SORTS.get(text or "-date", False)


def _after(service: Service, cursor: str | None, bound: object, oldest_first: bool) -> Sql:
    if cursor is None:
        return "true", ()
    place = service.seal.open(cursor, bound, tuple[int, int])
    if place is None:
        raise Invalid("_cursor does not belong to this search: start again without it", "http._cursor")
    sign = ">" if oldest_first else "<"
    return f"(resource.at, resource.id) {sign} (%s, %s)", (_EPOCH + place[0] * _MICROSECOND, place[1])


# ---- parameters -------------------------------------------------------------------------------------------------


def _condition(service: Service, ctx: Context, name: str, value: str) -> Sql:
    """Return what a parameter asks of a row; raise Invalid naming one that cannot be used."""
    values = [unescape(text) for text in split(value, ",") if text]
    if not values:
        raise Invalid(f"{name} has no value", f"http.{name}")
    try:
        return PARAMETERS[name](service, ctx, values)
    except (ValueError, OverflowError) as wrong:
        raise Invalid(f"{name}={value[:100]} cannot be used: {wrong}", f"http.{name}") from wrong


def _both(*pieces: Sql) -> Sql:
    return " and ".join(f"({sql})" for sql, _ in pieces), tuple(value for _, params in pieces for value in params)


def _either(pieces: Sequence[Sql]) -> Sql:
    sql = " or ".join(f"({sql})" for sql, _ in pieces) or "false"
    return sql, tuple(value for _, params in pieces for value in params)


def _ids(values: Sequence[str]) -> Sql:
    places = [place for text in values if (place := place_of(text))]
    return _either([("resource.at = %s and resource.id = %s", place) for place in places])


def _date(values: Sequence[str]) -> Sql:
    return _either([_moment(*prefixed(text)) for text in values])


def _moment(prefix: str, text: str) -> Sql:
    low, high = date.parse(text)
    match prefix:
        case "ne":
            return "resource.at < %s or resource.at >= %s", (low, high)
        case "gt" | "sa":
            return "resource.at >= %s", (high,)
        case "lt" | "eb":
            return "resource.at < %s", (low,)
        case "ge":
            return "resource.at >= %s", (low,)
        case "le":
            return "resource.at < %s", (high,)
    return "resource.at >= %s and resource.at < %s", (low, high)


def _place(ctx: Context, text: str, only: str = "") -> tuple[str, str]:
    """Return type and id of a reference, or of an id where the type is plain. Raises ValueError."""
    kind, _, name = text.removeprefix(f"{ctx.base}/").rpartition("/")
    kind = kind or only
    if kind not in TYPE_CODES or not name or (only and kind != only):
        raise ValueError(f"a reference such as {only or 'Observation'}/123 is expected")
    return kind, name


def _patient_key(service: Service, ctx: Context, text: str) -> int:
    try:
        return service.hasher.self_key(ctx.tenant.id, *_place(ctx, text, "Patient"))
    except ValueError as wrong:
        raise Invalid(f"patient={text[:100]} cannot be used: {wrong}", "http.patient") from wrong


def _patient(service: Service, ctx: Context, values: Sequence[str]) -> Sql:
    return "resource.patient = any(%s::bigint[])", ([_patient_key(service, ctx, text) for text in values],)


def _entity(service: Service, ctx: Context, values: Sequence[str]) -> Sql:
    pieces: list[Sql] = []
    for kind, name in (_place(ctx, text) for text in values):
        pieces.append(("resource.type = %s and resource.resource_id = %s", (TYPE_CODES[kind], name)))
        if kind == "Patient":
            pieces.append(_patient(service, ctx, [name]))
    return _either(pieces)


def _subjects(condition: str, values: Sequence[str], tenant_id: int) -> Sql:
    """Return that the subject is a person of the clinic of whom something holds."""
    sql = (
        "resource.subject = any(array(select n.sub from person n join membership m on m.person_id = n.id"  # noqa: S608
        f" where m.tenant_id = %s and {condition}))"
    )
    return sql, (tenant_id, list(values))


def _agent(service: Service, ctx: Context, values: Sequence[str]) -> Sql:
    return _subjects("m.reference = any(%s::text[])", ["/".join(_place(ctx, v)) for v in values], ctx.tenant.id)


def _agent_name(service: Service, ctx: Context, values: Sequence[str]) -> Sql:
    starts = "exists (select from unnest(%s::text[]) v where starts_with(lower(n.name), v))"
    return _subjects(starts, [value.lower() for value in values], ctx.tenant.id)


def _altid(service: Service, ctx: Context, values: Sequence[str]) -> Sql:
    names = [text.rpartition("|")[2] for text in values]
    return "resource.subject = any(%s::text[]) or resource.client = any(%s::text[])", (names, names)


def _actions(values: Sequence[str]) -> Sql:
    """Return the condition for AuditEvent.action: what is none of the others is an execution."""
    codes = {text.rpartition("|")[2] for text in values}
    named = [name for name, (code, _) in ACTIONS.items() if code in codes - {"E"}]
    others = [name for name, (code, _) in ACTIONS.items() if code != "E"]
    pieces: list[Sql] = [("resource.action = any(%s::text[])", (named,))]
    if "E" in codes:
        pieces.append(("not resource.action = any(%s::text[])", (others,)))
    return _either(pieces)


def _outcomes(values: Sequence[str]) -> Sql:
    spans = {"0": (0, 399), "4": (400, 499), "8": (500, 599)}
    found = [spans[code] for text in values if (code := text.rpartition("|")[2]) in spans]
    return _either([("resource.outcome between %s and %s", span) for span in found])


def _types(values: Sequence[str]) -> Sql:
    restful = "resource.action = any(%s::text[]) or resource.action ~ '^([$]|[A-Z]+$)'"
    pieces: list[Sql] = []
    for code in (text.rpartition("|")[2] for text in values):
        if code == "rest":
            pieces.append((restful, ([*ACTIONS],)))
        elif code == "110100":
            pieces.append((f"not ({restful})", ([*ACTIONS],)))
    return _either(pieces)


def _subtypes(values: Sequence[str]) -> Sql:
    codes = [text.rpartition("|")[2] for text in values]
    names = [*codes, *(["search-type", "search-system"] if "search" in codes else [])]
    pieces: list[Sql] = [("resource.action = any(%s::text[])", (names,))]
    if "operation" in codes:
        pieces.append(("resource.action ~ '^[$]'", ()))
    return _either(pieces)


def _policy(values: Sequence[str]) -> Sql:
    return "resource.token = any(%s::text[])", ([text.rpartition(":")[2] for text in values],)


def _plain(read: Callable[[Sequence[str]], Sql]) -> Callable[[Service, Context, Sequence[str]], Sql]:
    return lambda service, ctx, values: read(values)


# What can be asked for, with its type; read by the search and by the CapabilityStatement.
PARAMETERS: dict[str, Callable[[Service, Context, Sequence[str]], Sql]] = {
    "_id": _plain(_ids),
    "_lastUpdated": _plain(_date),
    "action": _plain(_actions),
    "address": _plain(lambda values: ("resource.peer = any(%s::text[])", (list(values),))),
    "agent": _agent,
    "agent-name": _agent_name,
    "altid": _altid,
    "date": _plain(_date),
    "entity": _entity,
    "outcome": _plain(_outcomes),
    "patient": _patient,
    "policy": _plain(_policy),
    "subtype": _plain(_subtypes),
    "type": _plain(_types),
}
