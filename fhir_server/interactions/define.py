"""SearchParameter resources on their way to the store: what they define becomes part of the tenant's index.

http://hl7.org/fhir/R4/searchparameter.html

In the transaction of the write: the definition is compiled, the tenant's generation counted up once all who index by
the one before are done, and a job queued that indexes the resources that are there. Whoever writes after it indexes by
the new generation, so that nothing falls between the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from conformance.issue import Issue, error
from conformance.r4.types import TYPE_CODES
from conformance.search_params import Registry, SearchParam
from conformance.structures import decode
from fhir_server.context import Context
from fhir_server.errors import Unprocessable
from fhir_server.interactions.draft import Saved
from fhir_server.interactions.service import Service
from fhir_server.search.definition import Definition, Wrong, check, compiled, defined, is_active
from fhir_server.search.own import Known
from fhir_server.store import jobs, parameters
from fhir_server.store.database import Stale, Tx
from fhir_server.store.jobs import NewJob

TYPE = "SearchParameter"
JOB = "index"


Place = tuple[Saved, str]


async def define(service: Service, ctx: Context, tx: Tx, saved: Sequence[Place]) -> int:
    """Take what is saved, each with its place in the request, into the tenant's parameters.

    Return the generation as of which the transaction stores its rows. Raises Unprocessable with every problem, and
    database.Stale where the parameters have changed since the service was made for this tenant.
    """
    found = {one.id: (one, path) for one, path in saved if one.type == TYPE}
    if not found:
        return service.generation
    known = service.parameters.met(ctx.tenant.id)
    if known is None or known.generation != service.generation:
        raise Stale("the search parameters of this tenant have just changed")
    before = {one.id: one.definition for one in known.own}
    after = _after(known, before, found, service.limits.max_search_parameters)
    put = {id_: definition for id_, definition in after.items() if before.get(id_) != definition}
    removed = [id_ for id_ in found if id_ in before and id_ not in after]
    if not (put or removed):
        return service.generation
    generation = await parameters.next_generation(tx, service.generation)
    for id_, definition in put.items():
        parameters.put(tx, id_, generation, definition, _codes([definition]), ctx.now)
    parameters.remove(tx, removed)
    types = _codes([*put.values(), *(before[id_] for id_ in (*put, *removed) if id_ in before)])
    idle = await parameters.want(tx, types, generation)
    jobs.add(tx, [NewJob(JOB, {"type": code}, _order(service, ctx, code)) for code in idle], ctx.now)
    return generation


def _codes(definitions: Iterable[Definition]) -> list[int]:
    return sorted({TYPE_CODES[name] for definition in definitions for name in definition.types})


def _order(service: Service, ctx: Context, type_code: int) -> int:
    return service.hasher.salt(ctx.tenant.id, str(type_code), JOB)


def _after(
    known: Known, before: Mapping[str, Definition], found: Mapping[str, Place], most: int
) -> dict[str, Definition]:
    """Return what the resources define, by id; raise Unprocessable where that cannot stand beside the others."""
    given, issues = _given(found)
    kept = {id_: definition for id_, definition in before.items() if id_ not in found}
    registry = known.base
    for definition in _in_order(kept.values()):
        registry = registry.extended(_compiled(definition, registry, known.base))
    after: dict[str, Definition] = {}
    for definition in _in_order(given.values()):
        id_ = next(i for i, one in given.items() if one is definition)
        try:
            params = compiled(definition, registry, known.base)
        except Wrong as wrong:
            issues += _placed(wrong.issues, found[id_][1])
            continue
        registry = registry.extended(params)
        if params:
            after[id_] = msgspec.structs.replace(definition, types=tuple(param.base for param in params))
    if len(kept) + len(after) > most:
        issues.append(error("too-costly", f"this server takes {most} search parameters of a tenant's own", TYPE))
    if issues:
        raise Unprocessable(issues)
    return after


def _compiled(definition: Definition, registry: Registry, r4: Registry) -> tuple[SearchParam, ...]:
    """Return the parameters of what is stored already; none where they lean on one that is not there any more."""
    try:
        return compiled(definition, registry, r4)
    except Wrong:
        return ()


def _in_order(definitions: Iterable[Definition]) -> list[Definition]:
    """Return the definitions with composites behind those that they may be composed of."""
    return sorted(definitions, key=lambda one: one.type == "composite")


def _given(found: Mapping[str, Place]) -> tuple[dict[str, Definition], list[Issue]]:
    """Return the definitions that shall be searched, by id, and what is wrong with what they declare."""
    given: dict[str, Definition] = {}
    issues: list[Issue] = []
    for id_, (one, path) in found.items():
        resource = decode(TYPE, one.body) if one.body else None
        if resource is None or not is_active(resource):
            continue
        try:
            check(resource)
        except Wrong as wrong:
            issues += _placed(wrong.issues, path)
        else:
            given[id_] = defined(resource)
    return given, issues


def _placed(issues: Iterable[Issue], path: str) -> list[Issue]:
    """Return the issues with the place of the resource in the request."""
    return [
        msgspec.structs.replace(issue, expression=tuple(path + e.removeprefix(TYPE) for e in issue.expression))
        for issue in issues
    ]
