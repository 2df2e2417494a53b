"""_summary and _elements: a resource cut down to what was asked for, in its own bytes.

No value is decoded and encoded again, so decimals keep their digits.
http://hl7.org/fhir/R4/search.html#summary · http://hl7.org/fhir/R4/search.html#elements
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache

import msgspec

from conformance.r4 import facts
from conformance.r4.facts import Element, Group
from conformance.r4.types import TYPE_CODES
from fhir_server.errors import Invalid

_SUBSETTED = b'{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}'
_ALWAYS = ("resourceType", "id", "meta")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])


class Subset(msgspec.Struct, frozen=True):
    """What of a resource is wanted: `elements` of the types searched, or `Type.element`; else as `summary` says."""

    summary: str = "false"
    elements: tuple[str, ...] = ()


def asked(query: Iterable[tuple[str, str]], types: Sequence[str], *, counts: bool = False) -> Subset | None:
    """Return what a query wants of resources of these types, None for all; raise Invalid for what they do not have.

    `counts` says that the interaction can answer `_summary=count`, which is of searches alone.
    """
    given = {name: value for name, value in query if name in ("_summary", "_elements")}
    summary = given.get("_summary", "false")
    if summary not in ("true", "text", "data", "count", "false"):
        raise Invalid("_summary takes true, text, data, count or false", "http._summary")
    if summary == "count" and not counts:
        raise Invalid("_summary=count is of searches alone", "http._summary")
    elements = tuple(given["_elements"].split(",")) if "_elements" in given else ()
    for name in elements:
        kind, _, element = name.rpartition(".")
        if name in _ALWAYS:
            continue
        if not any(element in _names(t) for t in ([kind] if kind in TYPE_CODES else [] if kind else types)):
            of = kind if kind in TYPE_CODES else ", ".join(types)
            told = f"{name[:100]!r} is no element at the root of {of[:80]}, and _elements takes no others"
            raise Invalid(told, "http._elements")
    if elements and summary not in ("count", "false"):
        raise Invalid("_summary and _elements cannot be used together", "http._elements")
    return None if summary in ("count", "false") and not elements else Subset(summary, elements)


def cut(resource_type: str, body: bytes, subset: Subset | None, *, included: bool = False) -> bytes:
    """Return the body with the members that are wanted, tagged SUBSETTED.

    What was included is cut down by `Type.element` alone: the other names are of what was searched.
    """
    if subset is None:
        return body
    names = subset.elements
    if included:
        names = tuple(name for name in names if "." in name)
    own = tuple(name.rpartition(".")[2] for name in names if name.rpartition(".")[0] in ("", resource_type))
    if subset.elements and not own:
        return body
    kept = _kept(resource_type, subset.summary, own)
    members = _members.decode(body)
    parts = []
    for name, raw in members.items():
        if name == "meta":
            parts.append(b'"meta":' + _tagged(raw))
        elif name.removeprefix("_") in kept:
            content = kept[name.removeprefix("_")]
            parts.append(b'"%b":%b' % (name.encode(), _pruned(content, bytes(raw)) if content else bytes(raw)))
    return b"{" + b",".join(parts) + b"}"


def _tagged(meta: msgspec.Raw) -> bytes:
    members = _members.decode(meta)
    tags = [bytes(tag) for tag in _items.decode(members.pop("tag", msgspec.Raw(b"[]")))]
    kept = [b'"%b":%b' % (name.encode(), bytes(raw)) for name, raw in members.items()]
    return b"{" + b",".join([*kept, b'"tag":[' + b",".join([*tags, _SUBSETTED]) + b"]"]) + b"}"


@cache
def _names(resource_type: str) -> Mapping[str, tuple[str, ...]]:
    """Return the names by which an element may be asked for, each with the JSON names that it stands for."""
    found: dict[str, tuple[str, ...]] = {}
    for name, element in facts.groups()[resource_type].elements.items():
        spelled = tuple(json_name for json_name, _ in facts.spelled(name, element))
        found |= {name: spelled, name.removesuffix("[x]"): spelled} | {one: (one,) for one in spelled}
    return found


@lru_cache(maxsize=512)
def _kept(resource_type: str, summary: str, elements: tuple[str, ...]) -> dict[str, str | None]:
    """Return the JSON names that are kept, each with the path of the group that its values are cut down to, if any.

    Elements that are required, and those that change what the rest means, stay whatever was asked for.
    """
    group = facts.groups()[resource_type]
    wanted = [json_name for name in elements for json_name in _names(resource_type).get(name, ())]
    kept = _of(group, summary == "true", lambda name, e: _KEPT[summary](name, e) if not elements else bool(e.modifier))
    return dict.fromkeys((*_ALWAYS, *wanted)) | kept


def _of(group: Group, deep: bool, keep: Callable[[str, Element], bool]) -> dict[str, str | None]:
    return {
        json_name: element.content if deep else None
        for name, element in group.elements.items()
        if element.min or keep(name, element)
        for json_name, _ in facts.spelled(name, element)
    }


# By value of _summary: the elements that stay beside those that are required.
_KEPT: Mapping[str, Callable[[str, Element], bool]] = {
    "true": lambda name, element: element.summary or element.modifier,
    "text": lambda name, element: name == "text",
    "data": lambda name, element: name != "text",
}


def _pruned(path: str, raw: bytes) -> bytes:
    """Return the values of a backbone element with their summary alone."""
    if raw[:1] == b"[":
        return b"[" + b",".join(_pruned(path, bytes(item)) for item in _items.decode(raw)) + b"]"
    if raw[:1] != b"{":
        return raw
    kept = _of(facts.groups()[path], True, _KEPT["true"])
    parts = []
    for name, value in _members.decode(raw).items():
        content = kept.get(name.removeprefix("_"))
        if name.removeprefix("_") in kept:
            parts.append(b'"%b":%b' % (name.encode(), _pruned(content, bytes(value)) if content else bytes(value)))
    # An element without content is none: what stands in no summary is given whole rather than empty.
    return b"{" + b",".join(parts) + b"}" if parts else raw
