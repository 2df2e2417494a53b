"""A message's resource meets the stored one: what it mentions changes, the rest stays, older news never wins.

Pure. What an element does that both sides have stands in two tables, `RULES` and `PARTS`. References in both must be
the server's own already: a urn:uuid of one message means nothing in another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, TypeAlias

from conformance.issue import Issue, error
from mappings.mapped import AS_OF, Entry, Json, choice_of
from mappings.times import moment

Slot: TypeAlias = Callable[[Json], Any]
Rule: TypeAlias = Callable[[Any, Any], Any]

# a new version even where nothing but its time changed: an older result must find out that it is older
_DATED = frozenset({"Observation", "DiagnosticReport"})
_OPEN = frozenset({"registered", "preliminary", "partial", "unknown"})
_FILTER = re.compile(r"(\w+)\[(\w+)(?:=(.*))?\]\Z")
_SPAN = {4: timedelta(days=366), 7: timedelta(days=31), 10: timedelta(days=1)}


def merge(existing: Json, incoming: Entry) -> Json:
    """Return the stored resource as the message leaves it; equal to `existing` where nothing changes.

    Elements the message does not mention are kept, those in `incoming.removed` go; lists such as names and telephone
    numbers are merged by what they are for. An entry older than what is stored only adds to lists of references.
    """
    if incoming.mode == "create":
        return existing
    if incoming.source is not None:
        return _replaced(existing, incoming)
    if is_stale(existing, incoming):
        return _added(existing, incoming)
    merged = dict(existing)
    for path in incoming.removed:
        _remove(merged, path)
    for name, value in incoming.resource.items():
        if name not in ("resourceType", "id", "meta") and not _kept(existing, incoming, name):
            _set(merged, name, value)
    _settle_value(merged, incoming.resource)
    if not _same(existing, merged) or (existing["resourceType"] in _DATED and _as_of(existing) != incoming.newer):
        merged["meta"] = _meta(existing, incoming)
    return existing if merged == existing else merged


def _replaced(existing: Json, incoming: Entry) -> Json:
    """Return what the other server says, as a version of what is here; `existing` where it is older or the same."""
    if is_stale(existing, incoming):
        return existing
    here = existing.get("meta", {})
    ours = {name: here[name] for name in ("versionId", "lastUpdated") if name in here}
    replaced = {**incoming.resource, "id": existing["id"], "meta": {**incoming.resource.get("meta", {}), **ours}}
    return existing if _timeless(replaced) == _timeless(existing) else replaced


def _timeless(resource: Json) -> Json:
    """Return a resource without the moment of which it is: another moment alone makes no version."""
    meta = dict(resource.get("meta", {}))
    meta["extension"] = [item for item in meta.get("extension", []) if item.get("url") != AS_OF]
    return {**resource, "meta": meta}


def is_stale(existing: Json, incoming: Entry) -> bool:
    """Tell whether the message is older than what is stored; times that cannot be compared are taken as newer."""
    stored = moment(_as_of(existing) or "")
    arrived = moment(incoming.newer or "")
    if stored is None or arrived is None or incoming.newer is None:
        return False
    return arrived + _SPAN.get(len(incoming.newer), timedelta()) < stored


def conflict(existing: Json, incoming: Entry) -> Issue | None:
    """Say so where a Patient of this number is somebody else: neither birth date nor family name agree."""
    if existing["resourceType"] != "Patient":
        return None
    born = {existing.get("birthDate"), incoming.resource.get("birthDate")}
    names, others = _families(existing), _families(incoming.resource)
    if len(born) == 2 and None not in born and names and others and not names & others:
        text = "the number belongs to a patient of another name and birth date"
        return error("conflict", text, "Patient.identifier")
    return None


# --- lists ----------------------------------------------------------------------------------------------------------


def by_slot(slot: Slot) -> Rule:
    """A rule for a list: items of a slot the message speaks of are replaced, where they stood; others stay."""

    def rule(old: Any, new: Any) -> Any:
        wanted: dict[Any, list[Any]] = {}
        for item in new:
            wanted.setdefault(slot(item), []).append(item)
        spoken_of = frozenset(wanted)
        merged: list[Any] = []
        for item in old:
            key = slot(item)
            if key not in spoken_of:
                merged.append(item)
            else:
                merged.extend(wanted.pop(key, []))
        return [*merged, *(item for items in wanted.values() for item in items)]

    return rule


def union(old: Any, new: Any) -> Any:
    """A rule for a list: what is missing is added."""
    return [*old, *(item for item in new if item not in old)]


def by_reference(old: Any, new: Any) -> Any:
    """A rule for references: one to a resource already referred to is the same."""
    known = {item.get("reference") for item in old}
    fresh = [item for item in new if not ("reference" in item and item["reference"] in known) and item not in old]
    return [*old, *fresh]


def places(old: Any, new: Any) -> Any:
    """Encounter.location: who is somewhere new has left where he was."""
    arrived = any(item.get("status") == "active" for item in new)
    mentioned = {_place(item) for item in new}
    left = [
        {**item, "status": "completed"} if arrived and item.get("status") == "active" else item
        for item in old
        if _place(item) not in mentioned
    ]
    return [*left, *new]


def _place(item: Json) -> Any:
    return item.get("location", {}).get("reference")


def _kind(item: Json) -> Any:
    found = item.get("type", {})
    first = (found[0] if isinstance(found, list) else found) if found else {}
    return (first.get("coding") or [{}])[0].get("code") or first.get("text")


def _identifier(item: Json) -> Any:
    return item.get("system"), item.get("value")


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "address": by_slot(lambda item: (item.get("use"), item.get("type"))),
        "basedOn": by_reference,
        "class": by_slot(_kind),
        "diagnosis": by_slot(lambda item: item.get("condition", {}).get("reference")),
        "extension": by_slot(lambda item: item.get("url")),
        "identifier": by_slot(_identifier),
        "location": places,
        "name": by_slot(lambda item: item.get("use")),
        "participant": by_slot(_kind),
        "presentedForm": by_slot(lambda item: item.get("title")),
        "result": by_reference,
        "specimen": by_reference,
        "telecom": by_slot(lambda item: (item.get("system"), item.get("use"))),
    }
)
"""What a list does that both sides have; any other list is replaced."""

PARTS = frozenset({"collection", "effectivePeriod", "hospitalization", "period"})
"""Objects whose parts come one by one; any other object is replaced."""

_ADDED_WHEN_STALE = ("identifier", "result", "specimen", "basedOn")


# --- one element ----------------------------------------------------------------------------------------------------


def _set(merged: Json, name: str, value: Any) -> None:
    old = merged.get(name)
    choice = choice_of(name)
    if choice:
        for other in [key for key in merged if choice_of(key) == choice and key.lstrip("_") != name]:
            del merged[other]
    if isinstance(value, str) and old != value:
        merged.pop(f"_{name}", None)
    rule = RULES.get(name)
    if rule and isinstance(old, list) and isinstance(value, list):
        merged[name] = rule(old, value)
    elif name in PARTS and isinstance(old, dict) and isinstance(value, dict):
        merged[name] = {**old, **value}
    else:
        merged[name] = value


def _settle_value(merged: Json, incoming: Json) -> None:
    """A value and the reason for having none exclude each other; the message's word counts."""
    if "dataAbsentReason" not in merged:
        return
    if any(choice_of(key) == "value" for key in incoming):
        del merged["dataAbsentReason"]
    elif "dataAbsentReason" in incoming:
        for key in [key for key in merged if choice_of(key) == "value"]:
            del merged[key]


def _kept(existing: Json, incoming: Entry, name: str) -> bool:
    return name in incoming.keep and name in existing and existing[name] not in _OPEN


def _remove(merged: Json, path: str) -> None:
    found = _FILTER.match(path)
    if found and found[2] == "x" and found[3] is None:
        for key in [key for key in merged if choice_of(key) == found[1]]:
            del merged[key]
    elif found:
        items = [item for item in merged.get(found[1], []) if not _fits(item, found[2], found[3] or "")]
        merged[found[1]] = items
        if not items:
            del merged[found[1]]
    else:
        _remove_at(merged, path.split("."))


def _fits(item: Json, key: str, value: str) -> bool:
    return (_kind(item) if key == "type" else item.get(key)) == value


def _remove_at(node: Json, names: list[str]) -> None:
    first, *rest = names
    if first not in node:
        return
    child = node[first]
    if not rest or not isinstance(child, dict):
        del node[first]
        node.pop(f"_{first}", None)
        return
    node[first] = child = dict(child)
    _remove_at(child, rest)
    if not child:
        del node[first]


def _added(existing: Json, incoming: Entry) -> Json:
    """Older news may still tell of results nobody has seen."""
    merged = dict(existing)
    for name in _ADDED_WHEN_STALE:
        old, value = existing.get(name, []), incoming.resource.get(name)
        if isinstance(old, list) and isinstance(value, list):
            known = {_identity(item) for item in old}
            fresh = [item for item in value if _identity(item) not in known]
            if fresh:
                merged[name] = [*old, *fresh]
    return merged


def _identity(item: Json) -> Any:
    return item.get("reference") or _identifier(item)


# --- time -----------------------------------------------------------------------------------------------------------


def _as_of(resource: Json) -> str | None:
    for item in resource.get("meta", {}).get("extension", []):
        if item.get("url") == AS_OF:
            found: str | None = item.get("valueDateTime")
            return found
    return resource.get("issued")


def _meta(existing: Json, incoming: Entry) -> Json:
    meta = dict(existing.get("meta", {}))
    security = incoming.resource.get("meta", {}).get("security")
    if security:
        meta["security"] = union(meta.get("security", []), security)
    if incoming.newer:
        others = [item for item in meta.get("extension", []) if item.get("url") != AS_OF]
        meta["extension"] = [*others, {"url": AS_OF, "valueDateTime": incoming.newer}]
    return meta


def _same(existing: Json, merged: Json) -> bool:
    return {k: v for k, v in existing.items() if k != "meta"} == {k: v for k, v in merged.items() if k != "meta"}


def _families(resource: Json) -> set[str]:
    return {name["family"].casefold() for name in resource.get("name", []) if "family" in name}
