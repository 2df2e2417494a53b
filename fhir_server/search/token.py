"""Tokens: a code, with or without the system it is from. http://hl7.org/fhir/R4/search.html#token

Four questions are answered, each by a key: `code` (any system), `system|code`, `|code` (no system) and `system|` (any
code). Case counts in identifiers and URIs, and in the codes of systems that say so; where nobody says, it does not,
since R4 holds that finding too much harms less than finding too little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import UNSET

from fhir_server.search.hashing import Hasher

Hashes = list[int]

# Every code system of HL7's own that R4 lists is case-sensitive; so is UCUM ("m" is metre, "M" is mega).
_SENSITIVE = ("http://hl7.org/fhir/", "http://terminology.hl7.org/CodeSystem/", "http://unitsofmeasure.org")
# FHIR types whose values are compared to the letter.
EXACT = frozenset(("Identifier", "id", "uri"))
# FHIR types without a place for a system: the element implies it.
BARE = frozenset(("code", "boolean", "string", "id", "uri"))


def coded(system: str, code: str) -> str:
    """Return the code as it is compared within its system ("" where it has none)."""
    return code if system.startswith(_SENSITIVE) else code.casefold()


def _coding(hasher: Hasher, value: Any) -> Hashes:
    """Return the hashes of a Coding for the four questions."""
    system = "" if value.system is UNSET else value.system
    found = [hasher.token_hash(system, None)] if system else []
    if (code := value.code) is not UNSET:
        found.append(hasher.token_hash(None, code.casefold()))
        found.append(hasher.token_hash(system, coded(system, code)))
    return found


def _concept(hasher: Hasher, value: Any) -> Hashes:
    if value.coding is UNSET:
        return []
    return [found for coding in value.coding for found in _coding(hasher, coding)]


def _identifier(hasher: Hasher, value: Any) -> Hashes:
    system = "" if value.system is UNSET else value.system
    found = [hasher.token_hash(system, None)] if system else []
    if value.value is not UNSET:
        found.append(hasher.token_hash(None, value.value))
        found.append(hasher.token_hash(system, value.value))
    return found


def _contact_point(hasher: Hasher, value: Any) -> Hashes:
    """Return the hashes of a ContactPoint: R4 names its `use` as the system, and people write its `system`."""
    if value.value is UNSET:
        return []
    code = value.value.casefold()
    given = [text for text in (value.use, value.system) if text is not UNSET]
    return [hasher.token_hash(system, code) for system in (None, *given)]


def _bare(hasher: Hasher, value: str) -> Hashes:
    return [hasher.token_hash(None, value.casefold())]


def _exact(hasher: Hasher, value: str) -> Hashes:
    return [hasher.token_hash(None, value)]


def _boolean(hasher: Hasher, value: bool) -> Hashes:
    return [hasher.token_hash(None, "true" if value else "false")]


# By FHIR type: the hashes of a value, before the salt of a parameter.
HASHES: dict[str, Callable[[Hasher, Any], Hashes]] = {
    "Coding": _coding,
    "CodeableConcept": _concept,
    "Identifier": _identifier,
    "ContactPoint": _contact_point,
    "code": _bare,
    "string": _bare,
    "boolean": _boolean,
    "id": _exact,
    "uri": _exact,
}


def _loose_coding(hasher: Hasher, value: Any) -> Hashes:
    return [] if value.code is UNSET else [hasher.token_hash(None, value.code.casefold())]


def _loose_concept(hasher: Hasher, value: Any) -> Hashes:
    return [] if value.coding is UNSET else [h for coding in value.coding for h in _loose_coding(hasher, coding)]


def _loose_identifier(hasher: Hasher, value: Any) -> Hashes:
    return [] if value.value is UNSET else [hasher.token_hash(None, value.value)]


def _loose_contact_point(hasher: Hasher, value: Any) -> Hashes:
    return [] if value.value is UNSET else [hasher.token_hash(None, value.value.casefold())]


# By FHIR type: the hashes of a value's codes in any system.
LOOSE: dict[str, Callable[[Hasher, Any], Hashes]] = {
    **HASHES,
    "Coding": _loose_coding,
    "CodeableConcept": _loose_concept,
    "Identifier": _loose_identifier,
    "ContactPoint": _loose_contact_point,
}


def _concept_texts(value: Any) -> list[str]:
    found = [] if value.text is UNSET else [value.text]
    codings = [] if value.coding is UNSET else value.coding
    return found + [coding.display for coding in codings if coding.display is not UNSET]


def _coding_texts(value: Any) -> list[str]:
    return [] if value.display is UNSET else [value.display]


def _identifier_texts(value: Any) -> list[str]:
    return [] if value.type is UNSET or value.type.text is UNSET else [value.type.text]


# By FHIR type: what people read for a code, which `:text` looks at.
TEXTS: dict[str, Callable[[Any], list[str]]] = {
    "CodeableConcept": _concept_texts,
    "Coding": _coding_texts,
    "Identifier": _identifier_texts,
}


def of_type(hasher: Hasher, value: Any) -> Hashes:
    """Return the hashes of an Identifier's value, one for each code of its type."""
    if value.type is UNSET or value.type.coding is UNSET or value.value is UNSET:
        return []
    codings = [c for c in value.type.coding if c.system is not UNSET and c.code is not UNSET]
    return [typed(hasher, coding.system, coding.code, value.value) for coding in codings]


def typed(hasher: Hasher, system: str, code: str, value: str) -> int:
    """Return the hash of an identifier's value with the code of its type."""
    return hasher.token_hash(f"{system}|{coded(system, code)}", value)


def identifier(hasher: Hasher, value: Any) -> Hashes:
    """Return the hashes of the Identifier that a Reference holds."""
    return [] if value.identifier is UNSET else _identifier(hasher, value.identifier)


def present(hasher: Hasher) -> int:
    """Return the hash that stands for any value at all."""
    return hasher.token_hash(None, None)


def searched(hasher: Hasher, types: Iterable[str], system: str | None, code: str | None) -> Hashes:
    """Return the hashes to look for, one for each way in which the FHIR types write what is searched for.

    `system` is None where any will do and "" where none may be given; `code` is None for `system|`.
    """
    if code is None:
        return [hasher.token_hash(system, None)]
    written: dict[str, None] = {}
    for kind in types:
        if kind in EXACT:
            written[code] = None
        elif system is None or kind == "ContactPoint":
            written[code.casefold()] = None
        else:
            written[coded(system, code)] = None
    return [hasher.token_hash(system, text) for text in written]
