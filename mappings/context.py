"""What converters share while one message is mapped: who sent it, its clock and systems, what was made, what is odd."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from uuid import UUID

from conformance.issue import Issue
from mappings.delimiters import Delimiters
from mappings.mapped import Document, Entry, Json, SenderProfile, choice_of
from mappings.systems import Systems
from mappings.times import Clock


class Codes:
    """A concept map: v2 code → (code, display, system). `table` is the v2 table's number or ""."""

    __slots__ = ("codes", "name", "table")

    def __init__(self, name: str, table: str, codes: Mapping[str, tuple[str, str, str]]) -> None:
        self.name = name
        self.table = table
        self.codes = codes


class Context:
    """One message on its way to FHIR. `segment` and `field` say where the mapping is, for issues and lineage."""

    __slots__ = (
        "clock",
        "codes",
        "control_id",
        "delimiters",
        "documents",
        "entries",
        "field",
        "issues",
        "newer",
        "profile",
        "segment",
        "systems",
        "trigger",
    )

    def __init__(
        self,
        profile: SenderProfile,
        delimiters: Delimiters,
        systems: Systems,
        clock: Clock,
        codes: Mapping[str, Codes],
        documents: Mapping[str, Document] | None = None,
    ) -> None:
        self.profile = profile
        self.delimiters = delimiters
        self.systems = systems
        self.clock = clock
        self.codes = codes
        self.documents = documents or {}
        self.entries: dict[str, Entry] = {}
        self.issues: list[Issue] = []
        self.newer: str | None = None
        self.trigger = ""
        self.control_id = ""
        self.segment = "MSH"
        self.field = 0

    def here(self) -> str:
        """Return the field at hand, as in `OBX[3]-5`."""
        return f"{self.segment}-{self.field}"

    def warn(self, code: str, text: str, where: str = "") -> None:
        """Note what could not be mapped as it stands; `code` is of http://hl7.org/fhir/issue-type."""
        place = where or self.here()
        self.issues.append(Issue("warning", code, f"{place}: {text}", (place,)))

    def inform(self, text: str, where: str = "", code: str = "informational") -> None:
        """Note what was mapped in a way the reader should know of."""
        place = where or self.here()
        self.issues.append(Issue("information", code, f"{place}: {text}", (place,)))

    def add(self, resource: Json, match: tuple[tuple[str, str], ...], lineage: dict[str, str] | None = None) -> Entry:
        """Keep a resource under its identity; one that this message made already gains what it lacks."""
        kind = str(resource["resourceType"])
        url = full_url(kind, *match[0])
        known = self.entries.get(url)
        if known is None:
            known = Entry(url, resource, match, newer=self.newer, lineage=lineage or {})
            self.entries[url] = known
        else:
            chosen = {choice_of(name) for name in known.resource} - {None}
            for name, element in resource.items():
                if choice_of(name) not in chosen:
                    known.resource.setdefault(name, element)
        return known


def full_url(kind: str, system: str, value: str) -> str:
    """Return the urn:uuid that this identity has in every message."""
    digest = blake2b(f"{kind}\n{system}\n{value}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return f"urn:uuid:{UUID(bytes=digest, version=5)}"


_MARKS = str.maketrans({"%": "%25", "/": "%2F", "#": "%23"})


def joined(*parts: str) -> str:
    """Return parts as one identifier value that other parts never give: marks of ours inside a part are spelled out."""
    return "/".join(part.translate(_MARKS) for part in parts)
