"""`:in`, `:not-in`, `:above` and `:below` of tokens, by the value sets and code systems that a tenant has stored.

http://hl7.org/fhir/R4/search.html#token

Nothing here executes: what a search asks of the terminology becomes a node to be looked up, and its codes become keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from fhir_server.search.hashing import Hasher
from fhir_server.search.match import Asked, implied, system_and_code
from fhir_server.search.terminology_codes import Codes
from fhir_server.search.terms import unescape
from fhir_server.search.token import BARE
from fhir_server.search.tree import AllKeys, And, AnyKey, Coded, Not, Nothing, Or, Tree

# FHIR types whose values are codes that a value set can hold.
CODED = frozenset(("Coding", "CodeableConcept", "code"))
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+\Z")


def in_value_set(asked: Asked) -> Tree:
    """Return the node of `:in` and `:not-in`. Raises ValueError for what is no canonical URL or reference."""
    text = unescape(asked.text)
    local = asked.place.local(text)
    if local and local.type == "ValueSet":
        return _node(asked, "in", f"ValueSet/{local.id}", "")
    if not _ABSOLUTE.match(text):
        raise ValueError("the canonical URL of a ValueSet is expected, or ValueSet/[id]")
    return _node(asked, "in", text, "")


def above(asked: Asked) -> Tree:
    """Return the node of `:above`. Raises ValueError."""
    return _subsumption(asked, "above")


def below(asked: Asked) -> Tree:
    """Return the node of `:below`. Raises ValueError."""
    return _subsumption(asked, "below")


def _subsumption(asked: Asked, relation: Literal["above", "below"]) -> Tree:
    system, code = system_and_code(asked.text)
    if not system or not code:
        raise ValueError("system|code is expected: a code alone stands in no hierarchy")
    return _node(asked, relation, system, code)


def _node(asked: Asked, relation: Literal["in", "above", "below"], canonical: str, code: str) -> Coded:
    param, place = asked.param, asked.place
    kinds = {(branch.type, branch.required if branch.type in BARE else None) for branch in param.branches}
    return Coded(
        f"{param.code}:{asked.modifier}",
        place.hasher.salt(place.tenant_id, param.base, param.code),
        tuple(sorted(((kind, bound) for kind, bound in kinds if kind in CODED), key=str)),
        relation,
        canonical,
        code,
    )


def asked_of_terminology(tree: Tree) -> Iterator[str]:
    """Yield the parameters, with their modifiers, that ask the terminology; chains are not followed."""
    match tree:
        case And(parts) | Or(parts):
            for part in parts:
                yield from asked_of_terminology(part)
        case Not(part):
            yield from asked_of_terminology(part)
        case Coded(name):
            yield name


def hashes(codes: Codes, kinds: Iterable[tuple[str, str | None]], hasher: Hasher) -> frozenset[int]:
    """Return the hashes, before any salt, under which values of these types stand that are of these codes."""
    found: set[int] = set()
    for kind, bound in kinds:
        if kind in BARE:
            for system, code in [*codes.listed, *((system, None) for system in codes.whole)]:
                known = implied(kind, bound, system, code)
                found.update(hasher.token_hash(None, one.casefold()) for one in known)
        else:
            found.update(hasher.token_hash(system, code) for system, code in codes.listed)
            found.update(hasher.token_hash(system, None) for system in codes.whole)
    return frozenset(found)


def keys(found: Iterable[int], salt: int) -> Tree:
    """Return that a row holds one of the hashes under a salt."""
    salted = tuple(one ^ salt for one in found)
    if not salted:
        return Nothing()
    return AllKeys(salted) if len(salted) == 1 else AnyKey(salted)
