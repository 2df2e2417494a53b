"""patch: what a resource becomes is said as a change of it. http://hl7.org/fhir/R4/http.html#patch

The row is locked before the patch is applied, so patches that meet follow each other and none is lost.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from conformance.issue import Issue
from conformance.structures import Refused, decode, resource_type_of
from fhir_server.context import Context
from fhir_server.errors import FhirError, Invalid, UnsupportedMedia
from fhir_server.interactions import answer
from fhir_server.interactions.content import shown
from fhir_server.interactions.draft import Save
from fhir_server.interactions.fhirpath_patch import fhirpath_patch
from fhir_server.interactions.json_patch import Patch, json_patch, merge_patch
from fhir_server.interactions.message import Request, Response, refuse_query, require_id
from fhir_server.interactions.service import Service
from fhir_server.interactions.update import required_version
from fhir_server.interactions.write import commit

_FHIR = "application/fhir+json"
_JSON = "application/json"
# What a patch may call itself, and how its JSON is read for a resource type.
KINDS: dict[str, Callable[[Any, str], Patch]] = {
    "application/json-patch+json": lambda patch, _: json_patch(patch),
    "application/merge-patch+json": lambda patch, _: merge_patch(patch),
    _FHIR: fhirpath_patch,
}
# Decimals keep their digits.
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


async def patch(service: Service, ctx: Context, request: Request) -> Response:
    """Change the resource; raise NotFound or Gone where there is none, Unprocessable where the patch cannot be done."""
    (result,) = await commit(service, ctx, [patch_of(service, request)])
    return answer.saved(ctx, request, await shown(service, ctx, result))


def patch_of(service: Service, request: Request, path: str = "", full_url: str | None = None) -> Save:
    """Return the Save for a PATCH of `Type/id`, or of the one that `Type?criteria` finds."""
    resource_type, *rest = request.path
    if rest:
        refuse_query(request, path)
        require_id(rest[0], path or resource_type)
    kind, body = _kind(request, path)
    return Save(
        type=resource_type,
        action="patch",
        id=rest[0] if rest else None,
        path=path,
        full_url=full_url,
        if_match=required_version(service, request),
        criteria=None if rest else request.query,
        patch=_change(kind.partition(";")[0].strip().lower(), body, resource_type, path),
    )


def _placed(issue: Issue, path: str) -> Issue:
    return msgspec.structs.replace(issue, expression=(path,)) if path else issue


class _Binary(msgspec.Struct, tag_field="resourceType", tag="Binary"):
    contentType: str = ""  # noqa: N815 - FHIR's name
    data: str = ""


_binary = msgspec.json.Decoder(_Binary)


def _kind(request: Request, path: str) -> tuple[str, bytes]:
    """Return media type and bytes of a patch; an entry of a bundle, which has no headers, is Binary or Parameters."""
    if "content-type" in request.headers:
        return request.headers["content-type"], request.body
    try:
        if resource_type_of(request.body) == "Parameters":
            return _FHIR, request.body
        found = _binary.decode(request.body)
        return found.contentType, b64decode(found.data, validate=True)
    except (Refused, msgspec.DecodeError, ValueError, RecursionError) as problem:
        told = f"a patch names its type, or is a Binary of it or Parameters in a bundle: {', '.join(KINDS)}"
        raise UnsupportedMedia(told, path or "http") from problem


def _plain(patch: Any) -> str:
    """Return the kind of a patch that only calls itself JSON, as clients send it: the three differ in their shape."""
    if isinstance(patch, list):
        return "application/json-patch+json"
    parameters = isinstance(patch, dict) and patch.get("resourceType") == "Parameters"
    return _FHIR if parameters else "application/merge-patch+json"


def _change(kind: str, body: bytes, resource_type: str, path: str) -> Callable[[bytes], bytes]:
    if kind not in (*KINDS, _JSON):
        raise UnsupportedMedia(
            f"a patch is one of {', '.join(KINDS)} or application/fhir+xml, not {kind[:80] or 'nothing'}",
            path or "http",
        )
    try:
        patch = _decoder.decode(body)
        kind = _plain(patch) if kind == _JSON else kind
        if kind == _FHIR:
            decode("Parameters", body)
        change = KINDS[kind](patch, resource_type)
    except Refused as refused:
        raise Invalid(refused.issues) from refused
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise Invalid(f"the patch is not JSON: {problem}", path or "http") from problem
    return changing(change, path)


def changing(change: Patch, path: str = "") -> Callable[[bytes], bytes]:
    """Return what a change of decoded JSON does to a body, whose decimals keep their digits."""

    def changed(before: bytes) -> bytes:
        try:
            value = _decoder.decode(before)
            told = _encoder.encode(value)
            after = _encoder.encode(change(value))
        except RecursionError as problem:
            raise Invalid("the patch makes the resource too deep", path or "http") from problem
        except FhirError as problem:
            raise type(problem)([_placed(issue, path) for issue in problem.issues]) from problem
        # The stored text itself is returned where nothing changes, so that its formatting makes no new version.
        return before if after == told else after

    return changed
