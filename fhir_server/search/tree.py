"""What a search asks for, as an immutable tree over one row of `resource`; permission is a tree of the same kind.

http://hl7.org/fhir/R4/search.html

A leaf is one question to the index. A new kind of search is a new leaf here, its SQL in plan.py, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

Prefix: TypeAlias = Literal["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"]


class Everything(msgspec.Struct, frozen=True):
    """Every live row."""


class Nothing(msgspec.Struct, frozen=True):
    """No row."""


class AllKeys(msgspec.Struct, frozen=True):
    """The row holds all of these keys."""

    keys: tuple[int, ...]


class AnyKey(msgspec.Struct, frozen=True):
    """The row holds at least one of these keys."""

    keys: tuple[int, ...]


class DateMatch(msgspec.Struct, frozen=True):
    """A date of the parameter compares with [low, high) as the prefix says.

    `param` numbers the periods no longer than date.LONGEST, `long_param` the others; `single` says that a resource has
    one such date at most, so that several comparisons are of the same date.
    """

    param: int
    long_param: int
    prefix: Prefix
    low: datetime
    high: datetime
    single: bool = False


class NumberMatch(msgspec.Struct, frozen=True):
    """A number of the parameter compares with `exact`, or with the range [low, high), as the prefix says."""

    param: int
    prefix: Prefix
    exact: float
    low: float
    high: float


class StringStarts(msgspec.Struct, frozen=True):
    """A string of the parameter starts with `value`, both folded."""

    param: int
    value: str


class StringIs(msgspec.Struct, frozen=True):
    """An entry of the parameter is `value` to the letter, as `text.entry` writes it."""

    param: int
    value: str


class StringContains(msgspec.Struct, frozen=True):
    """A string of the parameter holds `value` anywhere, both folded: every entry of the parameter is read."""

    param: int
    value: str


class WordsMatch(msgspec.Struct, frozen=True):
    """The words of the resource meet a tsquery, as `words.query` writes it."""

    query: str


class Present(msgspec.Struct, frozen=True):
    """A narrow table has an entry of one of these parameters."""

    table: Literal["idx_date", "idx_string", "idx_number"]
    params: tuple[int, ...]


class Span(msgspec.Struct, frozen=True):
    """How a number or date (as seconds) of an element compares: `exact` for numbers, `dates` tells which rules hold."""

    prefix: Prefix
    exact: float
    low: float
    high: float
    dates: bool = False


class ElementMatch(msgspec.Struct, frozen=True):
    """One element of the resource, with entries of its own, holds all of this together.

    `keys`: one of these leads to it (none: it is found by `holds` alone); `holds`: it has one of each of these groups;
    `spans` are of its numbers and dates in their order; a text of it starts with `starts`.
    """

    keys: tuple[int, ...]
    holds: tuple[tuple[int, ...], ...]
    spans: tuple[Span, ...] = ()
    starts: str = ""


class IdIn(msgspec.Struct, frozen=True):
    """The logical id is one of these."""

    ids: tuple[str, ...]


class Updated(msgspec.Struct, frozen=True):
    """The moment of the last update compares with [low, high) as the prefix says."""

    prefix: Prefix
    low: datetime
    high: datetime


class OfPatient(msgspec.Struct, frozen=True):
    """The row belongs to the compartment of the Patient with this self_key, or is that Patient."""

    self_key: int


class OfClass(msgspec.Struct, frozen=True):
    """The row is of one of these classes of confidentiality (ownership.Class)."""

    classes: tuple[int, ...]


class Released(msgspec.Struct, frozen=True):
    """The row was released to attorneys by this moment."""

    at: datetime


class InCare(msgspec.Struct, frozen=True):
    """The row is of a patient with whom a practitioner (a self_key) has a care relation at this moment.

    `kinds` are the relations that count; none stands for all of them.
    """

    member: int
    at: datetime
    kinds: tuple[str, ...] = ()


class OfCare(msgspec.Struct, frozen=True):
    """The row holds the key of a patient in a practitioner's care: how an index finds what InCare then decides."""

    member: int
    at: datetime


class OfCases(msgspec.Struct, frozen=True):
    """The row is of a case whose attorney this person is at this moment, while a release of information is live.

    `patients` asks for what is of a patient of these cases instead, themselves included.
    """

    person: int
    at: datetime
    patients: bool = False


class Consented(msgspec.Struct, frozen=True):
    """The patient of the row does not deny it to who asks: `actors` are self_keys, `purposes` None where not known.

    `by_role` finds the roles of a practitioner, and the organizations that they name; `emergency` breaks the glass.
    """

    actors: tuple[int, ...]
    by_role: tuple[int, int] | None
    purposes: tuple[str, ...] | None
    at: datetime
    emergency: bool = False


class SelfKeyIn(msgspec.Struct, frozen=True):
    """The self_key of the row is one of these."""

    keys: tuple[int, ...]


class Chained(msgspec.Struct, frozen=True):
    """A reference with this salt leads to a row that one of `targets`, (type, tree), finds.

    To be looked up first: its targets become keys, and no statement is made of it.
    """

    salt: int
    targets: tuple[tuple[str, Tree], ...]


class Reverse(msgspec.Struct, frozen=True):
    """A row of `type` that the tree finds refers to the row, of `target`, by a reference with this salt.

    To be looked up first, as `Chained`: it becomes self_keys, or a `Referred` where many rows refer.
    """

    salt: int
    type: str
    target: str
    tree: Tree


class Referred(msgspec.Struct, frozen=True):
    """A row of `type` that the tree finds refers to the row by a reference with this salt; asked of each row."""

    salt: int
    type: str
    tree: Tree


class Coded(msgspec.Struct, frozen=True):
    """A code of the parameter with this salt stands in a relation to what the tenant's terminology says.

    `name` is the parameter with its modifier; `kinds` are the FHIR types of its values, with the value set that plain
    codes are bound to; `canonical` names the ValueSet or, with `code`, the CodeSystem.
    To be looked up first: it becomes keys.
    """

    name: str
    salt: int
    kinds: tuple[tuple[str, str | None], ...]
    relation: Literal["in", "above", "below"]
    canonical: str
    code: str


class Within(msgspec.Struct, frozen=True):
    """The row refers, by a reference with this salt, to a live row of one of `groups`: types, and what it must be."""

    salt: int
    groups: tuple[tuple[tuple[str, ...], Tree], ...]


class And(msgspec.Struct, frozen=True):
    """All parts hold."""

    parts: tuple[Tree, ...]


class Or(msgspec.Struct, frozen=True):
    """At least one part holds."""

    parts: tuple[Tree, ...]


class Not(msgspec.Struct, frozen=True):
    """The part does not hold."""

    part: Tree


# What the narrow tables answer.
Entry: TypeAlias = (
    DateMatch | NumberMatch | StringStarts | StringIs | StringContains | WordsMatch | Present | ElementMatch
)
Leaf: TypeAlias = Everything | Nothing | AllKeys | AnyKey | Entry | IdIn | Updated | OfPatient
# What role rules look at: columns of the row, and the tables of care, cases and releases.
Held: TypeAlias = OfClass | Released | InCare | OfCare | OfCases | Consented
Link: TypeAlias = SelfKeyIn | Chained | Reverse | Referred | Coded | Within
Tree: TypeAlias = Leaf | Held | Link | And | Or | Not


def all_of(trees: Iterable[Tree]) -> Tree:
    """Return the tree where all hold: nested ands flattened, keys gathered, so that one index condition serves them."""
    parts: list[Tree] = []
    keys: dict[int, None] = {}
    for tree in _flat(trees, And):
        if isinstance(tree, Nothing):
            return tree
        if isinstance(tree, AllKeys):
            keys.update(dict.fromkeys(tree.keys))
        elif not isinstance(tree, Everything) and tree not in parts:
            parts.append(tree)
    if keys:
        parts.insert(0, AllKeys(tuple(keys)))
    if not parts:
        return Everything()
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def any_of(trees: Iterable[Tree]) -> Tree:
    """Return the tree where one holds: nested ors flattened, single keys and ids gathered."""
    parts: list[Tree] = []
    keys: dict[int, None] = {}
    ids: dict[str, None] = {}
    for tree in _flat(trees, Or):
        if isinstance(tree, Everything):
            return tree
        if isinstance(tree, AnyKey) or (isinstance(tree, AllKeys) and len(tree.keys) == 1):
            keys.update(dict.fromkeys(tree.keys))
        elif isinstance(tree, IdIn):
            ids.update(dict.fromkeys(tree.ids))
        elif not isinstance(tree, Nothing) and tree not in parts:
            parts.append(tree)
    if ids:
        parts.insert(0, IdIn(tuple(ids)))
    if keys:
        parts.insert(0, AllKeys(tuple(keys)) if len(keys) == 1 else AnyKey(tuple(keys)))
    if not parts:
        return Nothing()
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def _flat(trees: Iterable[Tree], kind: type[And | Or]) -> Iterable[Tree]:
    for tree in trees:
        if isinstance(tree, And | Or) and isinstance(tree, kind):
            yield from _flat(tree.parts, kind)
        else:
            yield tree
