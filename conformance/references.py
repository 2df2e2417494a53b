"""What a reference's text points at. http://hl7.org/fhir/R4/references.html#literal"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import UNSET

from conformance.r4.types import TYPE_CODES


class Literal(NamedTuple):
    """A reference of the form `[base/]Type/id[/_history/version]`; `base` is "" for a relative one."""

    base: str
    type: str
    id: str


def literal(text: str) -> Literal | None:
    """Return the parts of a RESTful reference, without its version; None for any other text, such as a URN."""
    head, _, last = text.partition("/_history/")[0].rpartition("/")
    base, _, resource_type = head.rpartition("/")
    if not last or resource_type not in TYPE_CODES:
        return None
    return Literal(base, resource_type, last)


def target_type(reference: Any) -> str | None:
    """Return the resource type that a Reference, or the text of one, points at, as far as it tells by itself."""
    if isinstance(reference, str):
        found = literal(reference)
        return found.type if found else None
    text = getattr(reference, "reference", UNSET)
    if text is not UNSET and (found := literal(text)):
        return found.type
    named = getattr(reference, "type", UNSET)
    return None if named is UNSET else named
