"""What the generated model checks beyond types and patterns. http://hl7.org/fhir/R4/json.html

Each check raises ValueError, which the decoder turns into a refusal; the words for the user come from `explain`.
"""

from __future__ import annotations

import binascii
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

import msgspec
from msgspec import UNSET, UnsetType

from conformance.narrative import problem

__all__ = ["base64", "concept", "is_base64", "missing", "one_choice", "parallel", "xhtml"]


def missing(name: str) -> NoReturn:
    """Refuse a required element that has neither a value nor a companion."""
    raise ValueError(f"{name} is required")


def parallel(values: Sequence[object] | UnsetType, companions: Sequence[object] | UnsetType) -> None:
    """Refuse a pair of arrays of other length, or with a place where both hold null."""
    ours = values if values is not UNSET else [None] * len(companions or ())
    theirs = companions if companions is not UNSET else [None] * len(ours)
    if len(ours) != len(theirs) or (None, None) in zip(ours, theirs, strict=True):
        raise ValueError("an array and its companion must be of one length and hold something at each place")


def one_choice(element: msgspec.Struct, stem: str) -> None:
    """Refuse a choice given in two types; a value and its own companion are one."""
    given = {
        name.lstrip("_")
        for name in element.__struct_fields__
        if name.lstrip("_").startswith(stem) and getattr(element, name) is not UNSET
    }
    if len(given) > 1:
        raise ValueError(f"{stem}[x] is given more than once")


def base64(value: str) -> None:
    """Refuse what is not base64; white space may stand between."""
    if not is_base64(value):
        raise ValueError("not base64")


def is_base64(value: str) -> bool:
    """Whether a text is base64 once white space is taken out."""
    return _strict(value) or _strict("".join(value.split()))


def _strict(value: str) -> bool:
    try:
        return len(binascii.a2b_base64(value, strict_mode=True)) > 0
    except ValueError:
        return False


def concept(value: Any, pairs: Collection[tuple[str, str]]) -> None:
    """Refuse a CodeableConcept without a coding from its required value set, given as (system, code) pairs."""
    if value.coding is UNSET or not any((c.system, c.code) in pairs for c in value.coding):
        raise ValueError("no coding from the required value set")


def xhtml(value: str) -> None:
    """Refuse XHTML that is malformed or holds more than a narrative may."""
    found = problem(value)
    if found:
        raise ValueError(found)
