"""$meta of a type or of everything: the profiles, tags and security labels in use, which a client may search for.

http://hl7.org/fhir/R4/resource-operation-meta.html
"""

from __future__ import annotations

from typing import Any

import msgspec

from conformance.structures import STORABLE
from fhir_server.context import Context
from fhir_server.errors import Forbidden, TooLarge
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.parameters import Given
from fhir_server.interactions.service import Service
from fhir_server.search.labels import PARAMETERS, in_use
from fhir_server.search.tree import Nothing, Tree
from fhir_server.smart.policy import visible

_MOST = 10_000
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


async def meta_in_use(service: Service, ctx: Context, request: Request) -> Response:
    """Return, as one Meta, each profile, label and tag of what the grant may search; types it may not are left out."""
    Given(request, ())
    allowed = _allowed(service, ctx, request.path[:-1])
    token, tenant = service.hasher.token, ctx.tenant.id
    # The key that stands for any value of the parameter.
    keys = [
        token(tenant, name, code, None, None) for types in allowed.values() for name in types for code in PARAMETERS
    ]
    found: dict[str, dict[Any, Any]] = {}
    if allowed:
        statement = in_use(allowed, keys, tenant, _MOST)
        rows = await service.db.fetch(tenant, statement.sql, statement.params, custom_plan=True)
        if len(rows) > _MOST:
            raise TooLarge(f"more than {_MOST} labels are in use; ask for one type")
        for element, text in rows:
            value = _decoder.decode(text)
            if value is not None:
                found.setdefault(element, {}).setdefault(_name(value), value)
    meta = {element: [values[name] for name in sorted(values)] for element, values in sorted(found.items())}
    parameter = {"name": "return", **({"valueMeta": meta} if meta else {})}
    return Response(200, msgspec.json.encode({"resourceType": "Parameters", "parameter": [parameter]}))


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
