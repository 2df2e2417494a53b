"""Short ways to a mapping in tests: a message from its segments, and what became of it by type."""

from __future__ import annotations

from functools import cache

import msgspec

from conformance import structures
from mappings.calls import CALLS
from mappings.context import Context
from mappings.delimiters import DEFAULT
from mappings.hl7v2 import parse
from mappings.mapped import Entry, Json, Mapped, SenderProfile, encode
from mappings.systems import Systems
from mappings.table import Tables, load
from mappings.times import Clock
from mappings.to_fhir import to_fhir
from mappings.value import Value

BERLIN = SenderProfile(zone="Europe/Berlin")
PID = "PID|1||7^^^CLINIC&1.2.3&ISO^MR||Doe^Jane"


def oru(*segments: str, head: str = "20260110121500", profile: SenderProfile = BERLIN, control: str = "1") -> Mapped:
    """Map an ORU^R01 of one patient with these segments behind PID."""
    return mapped(f"MSH|^~\\&|APP|LAB|||{head}||ORU^R01|{control}|P|2.5.1", PID, *segments, profile=profile)


def adt(trigger: str, *segments: str, pid: str = PID, head: str = "20260110121500") -> Mapped:
    """Map an ADT message."""
    return mapped(f"MSH|^~\\&|APP|FAC|||{head}||ADT^{trigger}|1|P|2.5.1", pid, *segments)


def mapped(*segments: str, profile: SenderProfile = BERLIN) -> Mapped:
    """Map a message and hold every resource against R4."""
    found = to_fhir(parse("\r".join(segments)), profile)
    check_valid(found)
    return found


def check_valid(found: Mapped) -> None:
    """Every resource is valid R4, carries its identity, refers to the message's own entries, and names its sources."""
    urls = {entry.full_url for entry in found.entries}
    assert len(urls) == len(found.entries)
    for entry in found.entries:
        body = encode(entry.resource)
        structures.decode(entry.resource["resourceType"], body)
        carried = {(i.get("system"), i.get("value")) for i in entry.resource["identifier"]}
        assert entry.match, entry.resource["resourceType"]
        assert set(entry.match) <= carried
        assert references(msgspec.json.decode(body)) <= urls
        assert entry.lineage
        assert all(isinstance(source, str) and source[:3].isalnum() for source in entry.lineage.values())


def references(node: object) -> set[str]:
    """Return every literal reference below a node."""
    if isinstance(node, list):
        return {found for item in node for found in references(item)}
    if not isinstance(node, dict):
        return set()
    own = {node["reference"]} if isinstance(node.get("reference"), str) else set()
    return own | {found for item in node.values() for found in references(item)}


def entries(found: Mapped, kind: str) -> list[Entry]:
    """Return the entries of a resource type, in order."""
    return [entry for entry in found.entries if entry.resource["resourceType"] == kind]


def all_of(found: Mapped, kind: str) -> list[Json]:
    """Return the resources of a type, in order."""
    return [entry.resource for entry in entries(found, kind)]


def the(found: Mapped, kind: str) -> Json:
    """Return the only resource of a type."""
    resources = all_of(found, kind)
    assert len(resources) == 1, f"{len(resources)} of {kind}"
    return resources[0]


def said(found: Mapped) -> list[str]:
    """Return what the issues say."""
    return [issue.diagnostics for issue in found.issues]


@cache
def tables() -> Tables:
    """Return the tables, compiled with the functions they name."""
    return load(CALLS)


def context(profile: SenderProfile = BERLIN, message_time: str = "20260110") -> Context:
    """Return a context as of a message of FAC."""
    found = tables()
    systems = Systems(profile, "FAC", found.systems)
    return Context(profile, DEFAULT, systems, Clock(profile.zone, message_time), found.codes)


def value(raw: str) -> Value:
    """Return a repetition cut at the usual component separator."""
    return Value(raw, DEFAULT, "^")
