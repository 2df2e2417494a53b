"""What a mapping takes and gives: the sender's profile, the resources with their identity, and what went wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from conformance.issue import Issue

Json = dict[str, Any]

AS_OF = "urn:concord:as-of"
"""Extension of `meta`: the time by which an older message is told from what is stored."""


_CHOICE = re.compile(r"_?(value|effective|onset|abatement|deceased|multipleBirth|occurrence)[A-Z]\w*\Z")


def choice_of(name: str) -> str | None:
    """Return the stem of an element that is one of several types (`value` of `valueString`), or None."""
    found = _CHOICE.match(name)
    return found.group(1) if found else None


class SenderProfile(msgspec.Struct, frozen=True):
    """What must be known of a sender beyond its messages.

    `scope` names the sender in the systems of identifiers it leaves without an authority; default MSH-4, else MSH-3.
    `zone` is the IANA zone of its local times; "" where nobody knows it: such times are then cut to their day.
    `charset`, as in MSH-18, comes before what the message declares, `fallback` is tried for bytes that do not fit it.
    `sniff` says whether the first bytes of a document tell its type, whatever ED.2 and ED.3 say.
    `systems` maps an assigning authority (namespace or universal id) to an identifier system, `code_systems` a coding
    system's name to its URI; both come before the built-in rules.
    """

    scope: str = ""
    zone: str = "UTC"
    systems: Mapping[str, str] = {}
    code_systems: Mapping[str, str] = {}
    charset: str = ""
    fallback: str = ""
    sniff: bool = True


class Document(msgspec.Struct, frozen=True):
    """A document that was cut out of the message, where a word stands for it.

    `data` is what `_data` of a Binary says of its content, `begins` are its first bytes, `sha1` is of all. It is not
    `read` where its bytes are not what ED.4 says: then it is the text itself.
    """

    data: Json
    size: int
    sha1: bytes
    begins: bytes
    read: bool = True


class Entry(msgspec.Struct):
    """One resource of a message, who it is, and how it meets what is stored.

    `match`: identifiers (system, value), all of them also in the resource, that tell it is the same one.
    `mode`: "merge" into the match, else create; "create": leave a match as it is.
    `newer`: dateTime by which an older message is told from a newer one.
    `removed`: elements that HL7's `""` deletes; `value[x]` names every choice, `telecom[use=home]` some items,
    `period.end` a child. `keep`: elements that must not replace what is settled already, such as the status in a
    message that is not about it.
    `lineage`: element → HL7 field, as in `name[0]` → `PID-5`.
    `source`: the address that the resource has on another server, which says all of it: then nothing is merged.
    """

    full_url: str
    resource: Json
    match: tuple[tuple[str, str], ...] = ()
    mode: Literal["merge", "create"] = "merge"
    newer: str | None = None
    removed: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    lineage: dict[str, str] = {}
    source: str | None = None


class Mapped(msgspec.Struct):
    """What a message says in FHIR; entries come in the order in which references need them."""

    entries: list[Entry]
    issues: list[Issue]


class Unmapped(Exception):
    """The message has no map, or lacks what its map needs; `issues` say which."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        super().__init__("; ".join(issue.diagnostics for issue in issues))
        self.issues = list(issues)


_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def encode(resource: Json) -> bytes:
    """Return a resource as JSON; decimals keep their digits."""
    return _encoder.encode(resource)


def decode(body: bytes) -> Json:
    """Return JSON as a resource whose decimals keep their digits; raises msgspec.DecodeError."""
    return _decoder.decode(body)
