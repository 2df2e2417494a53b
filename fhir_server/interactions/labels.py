"""Security labels of what is written and of what is answered: set here, whoever writes.

http://hl7.org/fhir/R4/security-labels.html#hcs
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from fhir_server.interactions.body import Members, members_of
from fhir_server.search.labelling import ACT, CONFIDENTIALITY, LEVELS, NO_REDISCLOSURE, PROTECTIVE, missing, said
from fhir_server.search.ownership import label_codes

_json: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
_MARK = b'"security'


def labelled(resource_type: str, resource: Any, members: Members, kept: Iterable[str]) -> Members:
    """Return the members with the labels that the server sets; the resource, decoded, has them afterwards too.

    `kept` are protective labels that the resource carried before.
    """
    wanted = said(resource_type, resource)
    wanted.update(kept)
    there = label_codes(resource_type, resource)
    if not wanted and not there:
        return members
    added = missing(there, wanted)
    if not added:
        return members
    from conformance.r4.model import Coding, Meta  # a tenth of a second: only processes that decode pay

    if resource.meta is UNSET:
        resource.meta = Meta()
    own = [] if resource.meta.security is UNSET else list(resource.meta.security)
    resource.meta.security = [*own, *(Coding(system=system, code=code) for system, code in added)]
    meta = _json.decode(members["meta"]) if "meta" in members else {}
    meta["security"] = [*meta.get("security", []), *({"system": system, "code": code} for system, code in added)]
    return {**members, "meta": msgspec.Raw(msgspec.json.encode(meta))}


def protective(body: bytes | None) -> set[str]:
    """Return the protective labels that a stored resource carries."""
    if body is None or _MARK not in body:
        return set()
    members = members_of(body)
    meta = _json.decode(members["meta"]) if "meta" in members else {}
    codings = list(meta.get("security", []))
    if "securityLabel" in members:
        concepts = msgspec.json.decode(members["securityLabel"])
        codings += [c for one in concepts if isinstance(one, dict) for c in one.get("coding", ())]
    return {str(one.get("code", "")).upper() for one in codings} & PROTECTIVE


class _Meta(msgspec.Struct):
    security: list[dict[str, Any]] = []


class _Resource(msgspec.Struct):
    meta: _Meta = msgspec.field(default_factory=_Meta)


class _Entry(msgspec.Struct):
    resource: _Resource = msgspec.field(default_factory=_Resource)


_entry = msgspec.json.Decoder(_Entry)


def high_water(entries: Sequence[bytes]) -> list[dict[str, str]]:
    """Return the labels of a Bundle: the highest confidentiality of its entries, and that nothing be disclosed on."""
    codes: set[str] = set()
    for entry in entries:
        if b'"security"' in entry:
            codes.update(str(one.get("code", "")).upper() for one in _entry.decode(entry).resource.meta.security)
    levels = [level for level in LEVELS if level in codes]
    found = [{"system": CONFIDENTIALITY, "code": levels[-1]}] if levels else []
    return [*found, {"system": ACT, "code": NO_REDISCLOSURE}] if NO_REDISCLOSURE in codes else found
