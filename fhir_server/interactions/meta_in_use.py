"""$meta of a type or of everything: the profiles, tags and security labels in use, which a client may search for.

http://hl7.org/fhir/R4/resource-operation-meta.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from conformance.structures import STORABLE
from fhir_server.context import Context
from fhir_server.errors import Forbidden, TooLarge
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.parameters import Given
from fhir_server.interactions.service import Service
from fhir_server.search.labels import ELEMENTS, PARAMETERS, labelled
from fhir_server.search.tree import Nothing, Tree
from fhir_server.smart.policy import visible

_MOST = 10_000
# Rows that one statement reads.
_TOGETHER = 1000


class _Labelled(msgspec.Struct):
    """What is read of a body."""

    meta: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(_Labelled)


async def meta_in_use(service: Service, ctx: Context, request: Request) -> Response:
    """Return, as one Meta, each profile, label and tag of what the grant may search; types it may not are left out."""
    Given(request, ())
    allowed = _allowed(service, ctx, request.path[:-1])
    token, tenant = service.hasher.token, ctx.tenant.id
    # The key that stands for any value of the parameter.
    keys = [
        token(tenant, name, code, None, None) for types in allowed.values() for name in types for code in PARAMETERS
    ]
    found = await _in_use(service, ctx, allowed, keys) if allowed else {}
    meta = {element: [values[name] for name in sorted(values)] for element, values in sorted(found.items()) if values}
    parameter = {"name": "return", **({"valueMeta": meta} if meta else {})}
    return Response(200, msgspec.json.encode({"resourceType": "Parameters", "parameter": [parameter]}))


async def _in_use(
    service: Service, ctx: Context, allowed: Mapping[Tree, Sequence[str]], keys: Sequence[int]
) -> dict[str, dict[Any, Any]]:
    """Return the labels by element and name; raise TooLarge for too many of them."""
    tenant = ctx.tenant.id
    found: dict[str, dict[Any, Any]] = {element: {} for element in ELEMENTS.values()}
    after, more = 0, True
    while more:
        statement = labelled(allowed, keys, tenant, after, _TOGETHER)
        rows = await service.db.fetch(tenant, statement.sql, statement.params, custom_plan=True)
        for rid, body, *_ in rows:
            after = rid
            meta = _decoder.decode(body).meta
            for element, names in found.items():
                for value in filter(None, meta.get(element, ())):
                    names.setdefault(_name(value), value)
        if sum(map(len, found.values())) > _MOST:
            raise TooLarge(f"more than {_MOST} labels are in use; ask for one type")
        more = len(rows) == _TOGETHER
    return found


def _name(value: Any) -> tuple[str, str]:
    """Return what tells a label from others: a profile itself, of a coding its system and code."""
    return (value.get("system", ""), value.get("code", "")) if isinstance(value, dict) else (value, "")


def _allowed(service: Service, ctx: Context, named: tuple[str, ...]) -> dict[Tree, list[str]]:
    """Return the types by what the grant may search of them; raise Forbidden for one that was named."""
    found: dict[Tree, list[str]] = {}
    for name in named or STORABLE:
        try:
            tree = visible(ctx, service.rules, name, "s")
        except Forbidden:
            if named:
                raise
            continue
        if not isinstance(tree, Nothing):
            found.setdefault(tree, []).append(name)
    return found
