"""A request answered by the tenant's search parameters as they are, not as this process remembers them.

Nothing is asked of the database for it, unless the answer depends on parameters of the tenant's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from conformance.issue import error
from fhir_server.context import Context
from fhir_server.errors import Busy, Conflict, Invalid
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.service import Service
from fhir_server.search.own import Indexing, Own
from fhir_server.smart.masking import veiled
from fhir_server.store import parameters

Handler = Callable[[Service, Context, Request], Awaitable[Response]]
_TRIES = 5


async def current(service: Service, ctx: Context, request: Request, handler: Handler) -> Response:
    """Run a handler by the tenant's parameters, once more where they turn out to have changed meanwhile.

    A write that succeeded is never run again: it looks by itself, in its transaction.
    """
    reads = request.method in ("GET", "HEAD") or request.path[-1:] == ("_search",)
    own = await service.of(ctx.tenant.id, veiled(ctx))
    before = len(ctx.trail)
    for _ in range(_TRIES):
        del ctx.trail[before:]
        try:
            answer = await handler(own, ctx, request)
        except Indexing as problem:
            renewed = await own.renewed(ctx.tenant.id)
            if problem.own in (await service.parameters.of(ctx.tenant.id)).own:
                raise await _told(service, ctx, problem.own) from problem
        except Invalid:
            if not own.registry.touched:
                raise
            renewed = await own.renewed(ctx.tenant.id)
            if renewed.generation == own.generation:
                raise
        else:
            if not (reads and own.registry.touched):
                return answer
            if await parameters.generation(service.db, ctx.tenant.id) == own.generation:
                return answer
            renewed = await own.renewed(ctx.tenant.id)
        own = renewed
    raise Busy("the search parameters of this tenant keep changing")


async def _told(service: Service, ctx: Context, own: Own) -> Conflict:
    """Return the refusal of a search that would miss what is not indexed yet, with how far it is."""
    progress = await parameters.progress(service.db, ctx.tenant.id, own.id)
    if progress is None:
        return Conflict("the search parameter was changed just now")
    of = "of resources that are being counted" if progress.total is None else f"of {progress.total} resources"
    code = own.definition.code
    text = f"{code} is being indexed, {progress.done} {of} done: GET SearchParameter/{own.id}/$progress"
    return Conflict([error("conflict", text, f"http.{code}")])
