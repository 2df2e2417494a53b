"""$explain-access: who can see a resource and by which rule, or why the one who asks cannot.

An operation of this server's own. Who may not see the resource is told the rules that would let them, word for word the
same whether there is such a resource or not; who sees it is told by which rule; who administers the clinic is told of
everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from fhir_server.context import Context, Grant, Member, Scope
from fhir_server.errors import Forbidden, NotFound
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.read import find
from fhir_server.interactions.service import Service
from fhir_server.search.named import held_by
from fhir_server.search.tree import Nothing, Tree, all_of
from fhir_server.smart.permissions import ways
from fhir_server.smart.policy import visible
from fhir_server.smart.reach import Who, reach
from fhir_server.smart.roles import rules_for
from fhir_server.smart.scopes import is_whole, parse_scopes
from fhir_server.store import clients, people, special
from fhir_server.store.clients import Client
from fhir_server.store.people import Colleague
from fhir_server.store.special import Access

_ALL = (Scope("user", "*", "cruds"),)
DEFINITION = "urn:concord:OperationDefinition:Resource-explain-access"
# Conditions of one statement.
_TOGETHER = 60
_SEEN = "You may read this resource."
_UNSEEN = "Either there is no such resource, or none of these rules reaches it."
_NEVER = "No scope and no rule of yours reaches any resource of this type."


class _Way(msgspec.Struct, frozen=True):
    """Somebody, and a rule by which they might see the resource."""

    who: str
    role: str
    rule: str
    says: str
    tree: Tree


async def explain_access(service: Service, ctx: Context, request: Request) -> Response:
    """Return Parameters: allowed, reason, the rules of the one who asks, and to an administrator who else sees it."""
    resource_type, resource_id = request.path[0], request.path[1]
    rid = await _seen(service, ctx, resource_type, resource_id)
    own = [one for one in ways(ctx, resource_type) if "r" in one.interactions]
    reason = _SEEN if rid is not None else _UNSEEN if own else _NEVER
    parts: list[dict[str, Any]] = [
        {"name": "allowed", "valueBoolean": rid is not None},
        {"name": "reason", "valueString": reason},
        *(_part("rule", rule=one.rule, says=one.says) for one in own),
    ]
    if rid is not None and _administers(ctx):
        found = await _ways(service, ctx, resource_type, rid)
        parts += [_part("who", name=one.who, role=one.role, rule=one.rule, says=one.says) for one in found]
    return Response(200, msgspec.json.encode({"resourceType": "Parameters", "parameter": parts}))


def _part(of: str, **parts: str) -> dict[str, Any]:
    return {"name": of, "part": [{"name": key, "valueString": value} for key, value in parts.items() if value]}


async def _seen(service: Service, ctx: Context, resource_type: str, resource_id: str) -> int | None:
    """Return the row's number where the grant may read the resource, asked as a read asks it."""
    try:
        row = await find(service, ctx, resource_type, resource_id)
    except (Forbidden, NotFound):
        return None
    return None if row.body is None else row.rid


def _administers(ctx: Context) -> bool:
    """Tell whether the one who asks may know of everybody: the clinic's admin, or a client that may do everything."""
    grant = ctx.grant
    if grant.member:
        return grant.member.role == "clinic-admin" and grant.purpose is None and is_whole(grant.scopes, "user")
    return is_whole(grant.scopes, "system", "cruds")


async def _ways(service: Service, ctx: Context, resource_type: str, rid: int) -> list[_Way]:
    """Return who can read the row, by which rule; several rules stand each for itself."""
    asked = [
        *(
            way
            for one in await people.listed(service.db, ctx.tenant.id)
            for way in _of(service, ctx, one, resource_type)
        ),
        *(_guest(service, ctx, one, resource_type) for one in await special.live(service.db, ctx.tenant.id, ctx.now)),
        *_programs(service, ctx, await clients.all_of(service.db, ctx.tenant.id), resource_type),
    ]
    found: list[_Way] = []
    for start in range(0, len(asked), _TOGETHER):
        part = asked[start : start + _TOGETHER]
        sql, values = held_by(ctx.tenant.id, [rid], [way.tree for way in part])
        rows = await service.db.fetch(ctx.tenant.id, sql, values)
        found += [way for _, *told in rows for way, may in zip(part, told, strict=True) if may]
    return found


def _of(service: Service, ctx: Context, one: Colleague, resource_type: str) -> Iterator[_Way]:
    """Return the rules of a member, each within all that is asked of the member."""
    if one.role is None or one.role == "super-admin" or one.person.disabled is not None:
        return
    member = Member(one.person.id, one.role, one.reference)
    whole = _readable(service, _as(ctx, Grant(ctx.tenant, one.person.sub, "", _ALL, member=member)), resource_type)
    who = Who(service.rules, ctx.tenant, member, ctx.now, resource_type)
    for rule in rules_for(one.role, resource_type, "r"):
        tree = all_of((reach(rule.limit, who), whole))
        if not isinstance(tree, Nothing):
            yield _Way(_named(one.person.name, one.person.email), one.role, rule.name, rule.says, tree)


def _guest(service: Service, ctx: Context, one: Access, resource_type: str) -> _Way:
    """Return what somebody sees by special access."""
    member = Member(one.person, "super-admin" if one.kind == "SUPPORT" else "physician")
    grant = Grant(ctx.tenant, "", "", _ALL, one.patient_id, member=member, purpose=one.kind)
    says = f"until {one.expires:%Y-%m-%d %H:%M} UTC: {one.reason}"
    rule = "support.reads" if one.kind == "SUPPORT" else "break-glass"
    return _Way(_named(one.name, one.email), "", rule, says, _readable(service, _as(ctx, grant), resource_type))


def _programs(service: Service, ctx: Context, known: Iterable[Client], resource_type: str) -> Iterator[_Way]:
    """Return the clients that act for themselves, by what they are registered for."""
    for one in known:
        scopes = tuple(scope for scope in parse_scopes(one.scope) if scope.context == "system")
        if one.disabled is None and scopes:
            tree = _readable(service, _as(ctx, Grant(ctx.tenant, one.client_id, one.client_id, scopes)), resource_type)
            yield _Way(one.name, "", "system scopes", " ".join(scope.text for scope in scopes), tree)


def _as(ctx: Context, grant: Grant) -> Context:
    return Context(grant, ctx.base, ctx.now, ctx.request_id)


def _readable(service: Service, ctx: Context, resource_type: str) -> Tree:
    try:
        return visible(ctx, service.rules, resource_type, "r")
    except Forbidden:
        return Nothing()


def _named(name: str, email: str) -> str:
    return f"{name} <{email}>"
