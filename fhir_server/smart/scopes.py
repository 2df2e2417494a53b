"""SMART scopes: text to values, and whether they cover an interaction.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

from conformance.structures import STORABLE
from fhir_server.context import Scope
from fhir_server.errors import Invalid

_CLINICAL = re.compile(
    r"(patient|user|system)/(\*|[A-Z][A-Za-z]+)\.(\*|read|write|c?r?u?d?s?)(?:\?([\x21\x23-\x5b\x5d-\x7e]+))?\Z"
)
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")
_V1 = {"read": "rs", "write": "cud", "*": "cruds"}


def parse_scope(text: str) -> Scope | None:
    """Return the clinical scope in `text` (v1 or v2), or None where it is of another kind or out of order.

    Whether the search parameters of a granular scope can be used is not asked here: granular.check does.
    """
    found = _CLINICAL.match(text)
    if not found or not found[3] or (found[2] != "*" and found[2] not in STORABLE):
        return None
    params = _params(found[4]) if found[4] else ()
    if params is None or (params and found[3] in _V1):
        return None
    return Scope(found[1], found[2], _V1.get(found[3], found[3]), params)


def _params(query: str) -> tuple[tuple[str, str], ...] | None:
    """Return the parameters of a granular scope, in one order for all that mean the same; None for no such query."""
    pairs = [piece.partition("=") for piece in query.split("&")]
    if _BROKEN.search(query) or not all(name and sign and value for name, sign, value in pairs):
        return None
    try:
        found = {(unquote(name, errors="strict"), unquote(value, errors="strict")) for name, _, value in pairs}
    except UnicodeDecodeError:
        return None
    return tuple(sorted(found))


def parse_scopes(text: str) -> tuple[Scope, ...]:
    """Return the clinical scopes of a space-separated list; others (openid, launch …) give none."""
    return tuple(s for s in map(parse_scope, text.split()) if s)


def require_scopes(text: str) -> tuple[Scope, ...]:
    """Return the clinical scopes; raise Invalid naming the first that is not one."""
    for item in text.split():
        if parse_scope(item) is None:
            raise Invalid(f"'{item}' is not a clinical scope such as system/*.cruds or patient/Observation.rs")
    if not text.split():
        raise Invalid("at least one scope is needed, such as system/*.cruds")
    return parse_scopes(text)


def covers(scopes: Iterable[Scope], resource_type: str, letter: str) -> tuple[Scope, ...]:
    """Return the scopes that allow interaction `letter` (one of c r u d s) on this type."""
    return tuple(s for s in scopes if s.type in ("*", resource_type) and letter in s.interactions)


def is_whole(scopes: Iterable[Scope], context: str, letters: str = "r") -> bool:
    """Tell whether one scope allows these interactions on every row of every type, as far as its context reaches."""
    return any(
        s.context == context and s.type == "*" and not s.params and {*letters} <= {*s.interactions} for s in scopes
    )
