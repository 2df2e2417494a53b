"""References, canonicals and URIs as hashes. http://hl7.org/fhir/R4/search.html#reference

A reference to a resource of this tenant, relative or absolute under the tenant's own base, hashes to the target's
`self_key`, whatever version it names; any other text hashes as a URI. A canonical is found with its version and
without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from conformance.references import Literal, literal, same_base
from fhir_server.search.hashing import Hasher

Hashes = list[int]


class Place(msgspec.Struct, frozen=True):
    """Where references are read: the tenant and its FHIR base, without a final slash."""

    hasher: Hasher
    tenant_id: int
    base: str

    def local(self, text: str) -> Literal | None:
        """Return the parts of a reference to a resource of this tenant; None for any other."""
        found = literal(text)
        if found is None or found.base in ("", self.base):
            return found
        return found if same_base(found.base, self.base) else None

    def self_key(self, target: Literal) -> int:
        """Return the key of the resource that a local reference names."""
        return self.hasher.self_key(self.tenant_id, target.type, target.id)


def _text(place: Place, text: str) -> Hashes:
    if text.startswith("#"):
        return []
    if found := place.local(text):
        return [place.self_key(found)]
    return [place.hasher.uri_hash(text.partition("/_history/")[0])]


def _reference(place: Place, value: Any) -> Hashes:
    return [] if value.reference is UNSET else _text(place, value.reference)


def _canonical(place: Place, value: str) -> Hashes:
    """Return the hashes of a canonical: as it stands, without its version, and as a local reference where it is one."""
    url, _, version = value.partition("#")[0].partition("|")
    found = _text(place, url)
    plain = place.hasher.uri_hash(url)
    if plain not in found:
        found.append(plain)
    return [*found, place.hasher.uri_hash(f"{url}|{version}")] if version else found


def _resource(place: Place, value: Any) -> Hashes:
    """Return the hash of a resource that stands inline, as in the first entry of a document."""
    if value.id is UNSET:
        return []
    return [place.hasher.self_key(place.tenant_id, type(value).__name__, value.id)]


def _attachment(place: Place, value: Any) -> Hashes:
    return [] if value.url is UNSET else _text(place, value.url)


def _uri(place: Place, value: str) -> Hashes:
    return [place.hasher.uri_hash(value)]


def _versioned(place: Place, value: str) -> Hashes:
    url, _, version = value.partition("|")
    return [place.hasher.uri_hash(text) for text in ((url, value) if version else (url,))]


# By FHIR type: the hashes of a value of a reference parameter, and of a uri parameter.
REFERENCES: dict[str, Callable[[Place, Any], Hashes]] = {
    "Reference": _reference,
    "canonical": _canonical,
    "uri": _canonical,
    "Resource": _resource,
    "Attachment": _attachment,
}
URIS: dict[str, Callable[[Place, Any], Hashes]] = {
    "uri": _uri,
    "url": _uri,
    "oid": _uri,
    "uuid": _uri,
    "canonical": _versioned,
}
