"""Whose identifier or code it is: HL7's assigning authorities and coding systems to FHIR's `system` URIs.

https://hl7.org/fhir/R4/identifier-registry.html https://hl7.org/fhir/R4/terminologies-systems.html
Every identifier gets a system. What the message and the sender's profile leave open becomes a URN of our own, scoped
to the sender, so that two senders' "12345" never meet: urn:concord:<kind>:<sender>[:<name>].
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from mappings.mapped import SenderProfile

_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+\Z", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z", re.IGNORECASE)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[^\s\"<>\\^`{|}]+\Z")
_TABLE = re.compile(r"HL7-?(\d{4})\Z")


class Systems:
    """The systems of one sender."""

    __slots__ = ("_codings", "_owned", "authorities", "codes", "profile", "scope")

    def __init__(self, profile: SenderProfile, sender: str, well_known: Mapping[str, Mapping[str, str]]) -> None:
        """`sender` is used where the profile names no scope; `well_known` is the table systems.json."""
        self.profile = profile
        self.scope = quote(profile.scope or sender or "unknown", safe="")
        self.authorities = well_known["authorities"]
        self.codes = well_known["codes"]
        # A message says the same few names again and again.
        self._codings: dict[str, str] = {}
        self._owned: dict[tuple[str, str], str] = {}

    def own(self, kind: str, name: str = "") -> str:
        """Return a URN of ours for what the sender left without a system."""
        found = self._owned.get((kind, name))
        if found is None:
            found = f"urn:concord:{kind}:{self.scope}" + (f":{quote(name, safe='')}" if name else "")
            self._owned[kind, name] = found
        return found

    def authority(self, namespace: str, universal: str, kind: str) -> str | None:
        """Return the system of an HD (namespace, universal id, its type), or None where all are empty."""
        listed = self.profile.systems
        for name in (universal, namespace):
            if name and name in listed:
                return listed[name]
        known = self.universal(universal, kind.upper()) if universal else None
        name = namespace or universal
        if known or not name:
            return known
        return self.universal(name, "") or self.own("authority", name)

    def universal(self, text: str, kind: str) -> str | None:
        """Return the URI of a universal id; its type may be missing or wrong, so the form decides."""
        listed = self.authorities.get(text)
        if listed:
            return listed
        if _OID.match(text):
            return f"urn:oid:{text}"
        if _UUID.match(text):
            return f"urn:uuid:{text.lower()}"
        return text if kind in ("URI", "URL", "") and _URI.match(text) else None

    def coding(self, name: str) -> str:
        """Return the system of a coding system's name (CWE.3); local and unnamed ones are the sender's own."""
        found = self._codings.get(name)
        if found is None:
            found = self._codings[name] = self._coding(name)
        return found

    def _coding(self, name: str) -> str:
        listed = self.profile.code_systems.get(name) or self.codes.get(name.upper())
        if listed:
            return listed
        table = _TABLE.match(name.upper())
        if table:
            return f"http://terminology.hl7.org/CodeSystem/v2-{table.group(1)}"
        return (self.universal(name, "") if name else None) or self.own("code", name)
