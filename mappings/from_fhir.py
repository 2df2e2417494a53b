"""A resource of another FHIR server becomes one of ours: the same one each time, by where it came from.

http://hl7.org/fhir/R4/resource-definitions.html#Meta.source · http://hl7.org/fhir/R4/references.html#literal

Its id here is made of its address there, so that references between such resources hold whichever comes first. What is
not fetched is referred to where it is: by its whole address.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import msgspec

from conformance.issue import error
from mappings.fields import MOST, Fields
from mappings.mapped import AS_OF, Entry, Json, Mapped, Unmapped, decode

_RELATIVE = re.compile(
    r"(?P<type>[A-Z][A-Za-z]{1,63})/(?P<id>[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?\Z"
)
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
# Where a resource names its patient: http://hl7.org/fhir/R4/compartmentdefinition-patient.html
_PATIENT = ("subject", "patient", "beneficiary", "for", "individual", "recipient")
# What the other server says of its own row.
_THEIRS = ("versionId", "lastUpdated", "source")


class Server(msgspec.Struct, frozen=True):
    """Another server: its base address, and the types that are fetched from it."""

    base: str
    types: frozenset[str]


def local_id(url: str) -> str:
    """Return the id that a resource of this address has here.

    >>> local_id("https://lab.example/fhir/Patient/1")
    'src-m66ex5safh3uhgy3k6axbkgyw4'
    """
    digest = blake2b(url.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return "src-" + base64.b32encode(digest).decode().rstrip("=").lower()


def from_fhir(body: bytes, server: Server) -> Mapped:
    """Return the resource as it is written here; raises Unmapped where it cannot be told which one it is."""
    try:
        given = decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unmapped([error("structure", "this is no JSON object")]) from None
    type_, id_ = given.get("resourceType"), given.get("id")
    if type_ not in server.types or not isinstance(id_, str) or not _ID.match(id_):
        raise Unmapped([error("required", "a resource of another server needs a type that is fetched, and an id")])
    url = f"{server.base}/{type_}/{id_}"
    resource: Json = _linked(given, server)
    theirs = given.get("meta")
    resource["id"], resource["meta"] = local_id(url), _meta(theirs if isinstance(theirs, dict) else {}, url)
    return Mapped([Entry(url, resource, newer=_updated(given), source=url)], [])


def order_key(resource: Json, server: Server) -> str:
    """Return what resources must be worked off in order by: their patient, else the resource itself."""
    patient = patient_of(resource, server)
    return f"patient|{patient or _own(resource, server)}"


def patient_of(resource: Json, server: Server) -> str | None:
    """Return the address of the patient that a resource is about, if it names one of its server's."""
    if resource.get("resourceType") == "Patient":
        return _own(resource, server)
    for reference in _references(resource):
        found = _RELATIVE.match(reference.removeprefix(f"{server.base}/"))
        if found and found["type"] == "Patient":
            return f"{server.base}/Patient/{found['id']}"
    return None


def fields(resource: Json, server: Server) -> Fields:
    """Return the numbers by which it is looked up: those of its patient."""
    found: dict[tuple[str, str, str], None] = {}
    if (patient := patient_of(resource, server)) is not None:
        found["", server.base, patient.rpartition("/")[2]] = None
    if resource.get("resourceType") == "Patient":
        for item in _items(resource.get("identifier")):
            system, value = item.get("system", ""), item.get("value")
            if isinstance(system, str) and isinstance(value, str) and len(system) + len(value) < 250:
                found["", system, value] = None
    return Fields(tuple(found)[:MOST])


def _references(resource: Json) -> Iterator[str]:
    for name in _PATIENT:
        for item in _items(resource.get(name)):
            if isinstance(text := item.get("reference"), str):
                yield text
    for part in _items(resource.get("participant")):
        for item in _items(part.get("actor")):
            if isinstance(text := item.get("reference"), str):
                yield text


def _items(value: Any) -> list[Json]:
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]


def _own(resource: Json, server: Server) -> str:
    return f"{server.base}/{resource.get('resourceType')}/{resource.get('id')}"


def _linked(value: Any, server: Server, name: str = "") -> Any:
    """Return a value with references to the server's resources as they are meant here."""
    if isinstance(value, dict):
        return {key: _linked(child, server, key) for key, child in value.items()}
    if isinstance(value, list):
        return [_linked(child, server, name) for child in value]
    return _reference(value, server) if name == "reference" and isinstance(value, str) else value


def _reference(text: str, server: Server) -> str:
    found = _RELATIVE.match(text.removeprefix(f"{server.base}/"))
    if found is None:
        return text
    url = f"{server.base}/{found['type']}/{found['id']}"
    return f"{found['type']}/{local_id(url)}" if found["type"] in server.types else url


def _meta(theirs: Json, url: str) -> Json:
    meta = {name: value for name, value in theirs.items() if name.lstrip("_") not in _THEIRS} | {"source": url}
    if isinstance(updated := theirs.get("lastUpdated"), str):
        others = [item for item in _items(theirs.get("extension")) if item.get("url") != AS_OF]
        meta["extension"] = [*others, {"url": AS_OF, "valueDateTime": updated}]
    return meta


def _updated(resource: Json) -> str | None:
    meta = resource.get("meta")
    found = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return found if isinstance(found, str) else None
