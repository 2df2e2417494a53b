"""What of a visible resource a role does not see: elements that are taken out, and searches that would ask for them.

An attorney sees neither a client's Social Security number nor the client's other contacts, the front desk an invoice's
totals and not its lines (45 CFR 164.502(b), the minimum necessary).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fhir_server.context import Context

Members = dict[str, msgspec.Raw]

# Words that a narrative or a contained resource repeats are as good as the element that is taken out.
_REPEATING = ("text", "contained")
_SSN = frozenset(("http://hl7.org/fhir/sid/us-ssn", "urn:oid:2.16.840.1.113883.4.1"))
_SHAPED_LIKE_SSN = re.compile(r"\s*\d{3}[-\s]?\d{2}[-\s]?\d{4}\s*\Z")
_RECORD_NUMBER = "MR"
_members = msgspec.json.Decoder(Members)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_plain: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def _for_attorney(patient: Members) -> Members:
    kept = _without(patient, ("contact", "extension", "modifierExtension", *_REPEATING))
    identifiers = [raw for raw in _list.decode(kept.pop("identifier", msgspec.Raw(b"[]"))) if _harmless(raw)]
    return {**kept, "identifier": msgspec.Raw(msgspec.json.encode(identifiers))} if identifiers else kept


def _harmless(raw: msgspec.Raw) -> bool:
    """Tell whether an identifier is known not to be a Social Security number: a record number, or of another shape."""
    identifier = _plain.decode(raw)
    codings = identifier.get("type", {}).get("coding", ())
    codes = {coding.get("code") for coding in codings}
    if identifier.get("system") in _SSN or "SS" in codes:
        return False
    return _RECORD_NUMBER in codes or not (codes or _SHAPED_LIKE_SSN.match(str(identifier.get("value", ""))))


def _totals(invoice: Members) -> Members:
    return _without(invoice, ("lineItem", "note", *_REPEATING))


def _without(members: Members, names: tuple[str, ...]) -> Members:
    return {name: value for name, value in members.items() if name.lstrip("_") not in names}


_MASKS: Mapping[tuple[str, str], Callable[[Members], Members]] = {
    ("attorney", "Patient"): _for_attorney,
    ("front-desk", "Invoice"): _totals,
}
# Searches that would tell what is masked, by role and type; the words of a resource hold all of it.
_VEILED: Mapping[str, Mapping[str, frozenset[str]]] = {
    "attorney": {"Patient": frozenset(("identifier", "_content", "_text"))},
    "front-desk": {"Invoice": frozenset(("_content", "_text"))},
}
_NOTHING: Mapping[str, frozenset[str]] = {}


def masked(ctx: Context, resource_type: str, body: bytes) -> bytes:
    """Return a resource as the member's role may see it."""
    member = ctx.grant.member
    mask = _MASKS.get((member.role, resource_type)) if member else None
    return body if mask is None else msgspec.json.encode(mask(_members.decode(body)))


def veiled(ctx: Context) -> Mapping[str, frozenset[str]]:
    """Return, by type, the search parameters by which the member may not look for anything."""
    return _VEILED.get(ctx.grant.member.role, _NOTHING) if ctx.grant.member else _NOTHING
