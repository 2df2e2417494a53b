"""What the entries of a resource tell of a permission tree without asking the database: yes, no, or nothing.

For what is in no row: a version that was replaced, and a write before it is stored. What cannot be told is None, and
who asks must take that for a no, or ask the database.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from fhir_server.search.tree import (
    AllKeys,
    And,
    AnyKey,
    Everything,
    IdIn,
    Not,
    Nothing,
    OfClass,
    OfPatient,
    Or,
    SelfKeyIn,
    Tree,
)


class Seen(Protocol):
    """What is looked at; `kinds.Entries` has it."""

    @property
    def self_key(self) -> int:
        """Key of the resource itself."""

    @property
    def keys(self) -> Collection[int]:
        """Tokens, references and URIs as hashes."""

    @property
    def patient(self) -> int | None:
        """self_key of the Patient whose compartment it is in."""

    @property
    def class_(self) -> int:
        """Its class of confidentiality."""


Other = Callable[[Tree], bool | None]


def _unknown(tree: Tree) -> bool | None:
    return None


def tell(tree: Tree, resource_id: str, seen: Seen, other: Other = _unknown) -> bool | None:
    """Return whether a resource meets a tree, None where that cannot be told; `other` answers for other leaves."""
    match tree:
        case Everything():
            return True
        case Nothing():
            return False
        case And(parts):
            return _and(tell(part, resource_id, seen, other) for part in parts)
        case Or(parts):
            return _not(_and(_not(tell(part, resource_id, seen, other)) for part in parts))
        case Not(part):
            return _not(tell(part, resource_id, seen, other))
        case AllKeys(keys):
            return set(keys) <= set(seen.keys)
        case AnyKey(keys):
            return not set(keys).isdisjoint(seen.keys)
        case OfPatient(self_key):
            return seen.patient == self_key
        case OfClass(classes):
            return seen.class_ in classes
        case IdIn(ids):
            return resource_id in ids
        case SelfKeyIn(keys):
            return seen.self_key in keys
    return other(tree)


def _not(told: bool | None) -> bool | None:
    return None if told is None else not told


def _and(parts: Iterable[bool | None]) -> bool | None:
    """Return no where one part says no, otherwise nothing where one says nothing."""
    found = list(parts)
    if False in found:
        return False
    return None if None in found else True
