"""$meta, $meta-add and $meta-delete: the profiles, tags and security labels of one resource.

http://hl7.org/fhir/R4/resource-operation-meta.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from conformance.structures import Refused, decode
from fhir_server.context import Context, Note
from fhir_server.errors import Gone, Invalid
from fhir_server.interactions.answer import versioned
from fhir_server.interactions.body import members_of
from fhir_server.interactions.draft import Save
from fhir_server.interactions.message import Request, Response, if_match, require_id
from fhir_server.interactions.patch import changing
from fhir_server.interactions.read import find
from fhir_server.interactions.service import Service
from fhir_server.interactions.write import commit

Json = Any
_LISTS = ("profile", "security", "tag")
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


async def meta(service: Service, ctx: Context, request: Request) -> Response:
    """Return the meta of a resource; raise NotFound or Gone as a read does."""
    row = await find(service, ctx, *request.path[:2])
    if row.body is None:
        raise Gone(f"{'/'.join(request.path[:2])} was deleted")
    ctx.trail.append(Note("$meta", 200, row.type, row.id, row.version, row.patient))
    return Response(200, _returned(row.body), versioned(row.version, row.updated))


async def meta_add(service: Service, ctx: Context, request: Request) -> Response:
    """Add profiles, tags and labels that are not there yet; a version is made only where one was added."""
    return await _changed(service, ctx, request, _added)


async def meta_delete(service: Service, ctx: Context, request: Request) -> Response:
    """Take away the profiles, tags and labels that are given; those that are not there do no harm."""
    return await _changed(service, ctx, request, _left)


async def _changed(
    service: Service, ctx: Context, request: Request, change: Callable[[list[Json], list[Json]], list[Json]]
) -> Response:
    given = _given(request.body)

    def changed(value: Json) -> Json:
        own = value.setdefault("meta", {})
        for name in _LISTS:
            if items := change(own.get(name, []), given.get(name, [])):
                own[name] = items
            else:
                own.pop(name, None)
        return value

    resource_type, resource_id, _ = request.path
    require_id(resource_id, resource_type)
    save = Save(type=resource_type, action="patch", id=resource_id, if_match=if_match(request), patch=changing(changed))
    (result,) = await commit(service, ctx, [save])
    return Response(200, _returned(result.body or b"{}"), versioned(result.version, result.updated))


def _given(body: bytes) -> dict[str, Json]:
    """Return the meta of the Parameters; raise Invalid where there is none."""
    try:
        decode("Parameters", body)
    except Refused as refused:
        raise Invalid(refused.issues) from refused
    found = [one for one in _decoder.decode(body).get("parameter", []) if one["name"] == "meta"]
    if len(found) != 1 or "valueMeta" not in found[0]:
        raise Invalid("send Parameters with one parameter named meta, a valueMeta", "Parameters.parameter")
    meta_given: dict[str, Json] = found[0]["valueMeta"]
    return meta_given


def _name(item: Json) -> Json:
    """Return what tells an item from others: a profile itself, of a coding its system and code."""
    return (item.get("system"), item.get("code")) if isinstance(item, dict) else item


def _added(own: list[Json], given: list[Json]) -> list[Json]:
    known = {_name(item): item for item in own}
    return [*own, *({_name(item): item for item in given if _name(item) not in known}).values()]


def _left(own: list[Json], given: list[Json]) -> list[Json]:
    gone = {_name(item) for item in given}
    return [item for item in own if _name(item) not in gone]


def _returned(body: bytes) -> bytes:
    own = bytes(members_of(body)["meta"])
    return b'{"resourceType":"Parameters","parameter":[{"name":"return","valueMeta":%b}]}' % own
