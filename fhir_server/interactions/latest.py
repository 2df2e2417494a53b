"""The latest of what a search finds, by a date of the resource: what $lastn and $docref share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from conformance.issue import error
from fhir_server.context import Context
from fhir_server.errors import Invalid
from fhir_server.interactions import trail
from fhir_server.interactions.body import members_of
from fhir_server.interactions.bundle import bundle, entry, link
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.resolve import resolved
from fhir_server.interactions.search import understood
from fhir_server.interactions.service import Service
from fhir_server.search import latest
from fhir_server.search.plan import Statement
from fhir_server.smart.masking import masked
from fhir_server.smart.policy import visible
from fhir_server.store.wire import Rows


class Moment(msgspec.Struct, frozen=True):
    """A resource that was found, with the JSON of the element that was asked for, and when it was."""

    rid: int
    element: str | None
    at: datetime | None


class Choice(msgspec.Struct, frozen=True):
    """What is asked: a search of a type, the search parameter that says when, and an element to choose by."""

    type: str
    query: Sequence[tuple[str, str]]
    date: str
    element: str


async def answer(
    service: Service,
    ctx: Context,
    request: Request,
    choice: Choice,
    choose: Callable[[Sequence[Moment]], Sequence[Moment]],
    shown: Sequence[tuple[str, str]],
) -> Response:
    """Return the searchset of what `choose` takes from all that is found, which comes to it the latest first.

    Raises Invalid for what is no search, and where more is found than the server looks through.
    """
    restrict = visible(ctx, service.rules, choice.type, "s")
    asked = understood(service, ctx, request, choice.type, choice.query)
    asked = msgspec.structs.replace(asked, tree=await resolved(service, ctx, asked.tree))
    most = service.limits.max_latest
    made = latest.moments(asked, choice.date, ctx.tenant.id, restrict, most)
    rows = await _fetched(service, ctx, made)
    found = [Moment(rid, _element(body, choice.element), at) for rid, body, at, *_ in rows]
    if len(found) > most:
        raise Invalid([error("too-costly", f"more than {most} resources are found: narrow the search")])
    chosen = choose(found)
    rows = await _fetched(service, ctx, latest.bodies([one.rid for one in chosen], ctx.tenant.id, restrict))
    by_rid = {row[0]: row for row in rows}
    entries = [
        entry(
            f"{ctx.base}/{choice.type}/{by_rid[one.rid][1]}", masked(ctx, choice.type, by_rid[one.rid][2]), mode="match"
        )
        for one in chosen
        if one.rid in by_rid
    ]
    whose = (by_rid[one.rid][3] for one in chosen if one.rid in by_rid)
    trail.found(ctx, request, request.path[-1], whose, choice.type)
    own = link("self", f"{ctx.base}/{'/'.join(request.path)}", [*shown, *request.look])
    return Response(200, bundle("searchset", entries, [own], ctx.now, len(entries)))


def _element(body: bytes, name: str) -> str | None:
    """Return the JSON of a member of a body."""
    raw = members_of(body).get(name)
    return None if raw is None else bytes(raw).decode()


async def _fetched(service: Service, ctx: Context, made: Statement) -> Rows:
    return await service.db.fetch(ctx.tenant.id, made.sql, made.params, custom_plan=True)
