"""Chains, reverse chains and terminology looked up before the search itself, each level under the grant's permission.

http://hl7.org/fhir/R4/search.html#chaining
"""

from __future__ import annotations

from fhir_server.context import Context
from fhir_server.errors import Forbidden, Invalid
from fhir_server.interactions.service import Service
from fhir_server.interactions.terminology import coded
from fhir_server.search import links, near
from fhir_server.search.plan import Statement, seen_by
from fhir_server.search.tree import (
    And,
    AnyKey,
    Chained,
    Coded,
    Not,
    Or,
    Referred,
    Reverse,
    SelfKeyIn,
    Tree,
    all_of,
    any_of,
)
from fhir_server.smart.policy import visible
from fhir_server.store.wire import Rows


async def resolved(service: Service, ctx: Context, tree: Tree) -> Tree:
    """Return the tree with each link as keys, so that one statement can be made of it.

    What the grant may not see is no target and refers to nothing. Raises Forbidden where no scope allows to search the
    types that a link leads to, Invalid where a link leads to more rows than the limit.
    """
    match tree:
        case And(parts):
            return all_of([await resolved(service, ctx, part) for part in parts])
        case Or(parts):
            return any_of([await resolved(service, ctx, part) for part in parts])
        case Not(part):
            return Not(await resolved(service, ctx, part))
        case Chained():
            return await _chained(service, ctx, tree)
        case Reverse():
            return await _reverse(service, ctx, tree)
        case Coded():
            return await coded(service, ctx, tree)
    return tree


async def _chained(service: Service, ctx: Context, link: Chained) -> Tree:
    keys: list[int] = []
    refused: Forbidden | None = None
    allowed = False
    for resource_type, tree in link.targets:
        try:
            restrict = visible(ctx, service.rules, resource_type, "s")
        except Forbidden as problem:
            refused = problem
            continue
        allowed = True
        keys += await _targets(service, ctx, resource_type, tree, restrict, len(keys))
    if refused and not allowed:
        raise refused
    return any_of([AnyKey(tuple(key ^ link.salt for key in keys))] if keys else [])


async def _targets(
    service: Service, ctx: Context, resource_type: str, tree: Tree, restrict: Tree, known: int
) -> list[int]:
    limit = service.limits.max_chain_targets
    inner = await resolved(service, ctx, tree)
    found = await _fetch(service, ctx, links.targets(resource_type, inner, ctx.tenant.id, restrict, limit))
    if known + len(found) > limit:
        raise Invalid(f"a chain leads to more than {limit} resources ({resource_type}): ask for fewer", "http")
    return [row[0] for row in found]


async def _reverse(service: Service, ctx: Context, link: Reverse) -> Tree:
    restrict = visible(ctx, service.rules, link.type, "s")
    inner = await resolved(service, ctx, link.tree)
    if near.crowded(inner, await service.shares.now()):
        return Referred(link.salt, link.type, all_of((inner, seen_by(restrict))))
    limit = service.limits.max_chain_targets
    asked = Reverse(link.salt, link.type, link.target, inner)
    ((number, keys),) = await _fetch(service, ctx, links.referred(asked, ctx.tenant.id, restrict, limit))
    if number > limit:
        return Referred(link.salt, link.type, all_of((inner, seen_by(restrict))))
    return SelfKeyIn(tuple(keys))


async def _fetch(service: Service, ctx: Context, statement: Statement) -> Rows:
    return await service.db.fetch(ctx.tenant.id, statement.sql, statement.params, custom_plan=True)
