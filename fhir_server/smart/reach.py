"""A limit of a role rule as a search tree: the rows that it lets a member reach, as of now.

How far `signed` reaches: a draft is known by its status, and a document by its docStatus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from fhir_server.context import Member, Tenant
from fhir_server.search.ownership import Class
from fhir_server.search.tree import (
    And,
    AnyKey,
    Everything,
    InCare,
    Nothing,
    OfCases,
    OfClass,
    Released,
    Tree,
    all_of,
    any_of,
)
from fhir_server.search.unsigned import signed
from fhir_server.smart.roles import Limit
from fhir_server.smart.rules import Rules

_OPEN = OfClass(tuple(sorted(c.value for c in Class if c is not Class.PSYCH)))
_GUARDED = OfClass((Class.PSYCH.value,))
_FINANCIAL = OfClass((Class.FINANCIAL.value,))
_LEGAL = OfClass((Class.LEGAL.value,))
_INTAKE = OfClass((Class.DEMOGRAPHIC.value, Class.LEGAL.value))
# Relations that say that somebody treats: an appointment or a cover alone opens no psychotherapy notes.
_TREATING = ("assigned", "encounter")
_AUTHORS = ("asserter", "author", "performer", "recorder")
_PARTIES = ("owner", "requester")


class Who(msgspec.Struct, frozen=True):
    """A member at a moment, who asks for rows of a type."""

    rules: Rules
    tenant: Tenant
    member: Member
    at: datetime
    type: str


def in_care(who: Who, *kinds: str) -> Tree:
    """Return the rows of patients in a member's care: none for one who is no Practitioner in the records."""
    kind, _, name = (who.member.reference or "").partition("/")
    if kind != "Practitioner" or not name:
        return Nothing()
    return InCare(who.rules.hasher.self_key(who.tenant.id, kind, name), who.at, kinds)


def _care(*kinds: str, within: Tree) -> Callable[[Who], Tree]:
    """Return what gives those of a member's care that are of a class, which is asked first: it costs nothing."""

    def made(who: Who) -> Tree:
        care = in_care(who, *kinds)
        return care if isinstance(care, Nothing) else And((within, care))

    return made


def _named(who: Who, codes: Iterable[str]) -> Tree:
    """Return the rows that name the member by one of these parameters, as far as the type has them."""
    kind, _, name = (who.member.reference or "").partition("/")
    known = who.rules.registry.specified(who.type)
    own = [code for code in codes if code in known and kind in known[code].targets]
    if not own:
        return Nothing()
    hasher, tenant = who.rules.hasher, who.tenant.id
    return AnyKey(tuple([hasher.reference(tenant, who.type, code, kind, name) for code in own]))


def _authored(who: Who) -> Tree:
    named = _named(who, _AUTHORS)
    return named if isinstance(named, Nothing) else all_of((named, _CARED_FOR(who)))


def _cases(who: Who, *limits: Tree, patients: bool = False) -> Tree:
    """Return the rows of the member's cases with a live release, as far as all limits hold."""
    return all_of((OfCases(who.member.person, who.at, patients), *limits))


def _own(who: Who, *limits: Tree) -> Tree:
    """Return the rows of the member's cases that are of these cases' patients too."""
    return _cases(who, OfCases(who.member.person, who.at, True), *limits)


def _signed(who: Who) -> Tree:
    return signed(who.rules.hasher, who.tenant.id, who.type)


_CARED_FOR = _care(within=_GUARDED)
_TREES: Mapping[Limit, Callable[[Who], Tree]] = {
    "all": lambda who: Everything(),
    "open": lambda who: _OPEN,
    "care": _care(within=_OPEN),
    "treating": _care(*_TREATING, within=_GUARDED),
    "author": _authored,
    "assigned": _care("assigned", within=_GUARDED),
    "signed": lambda who: all_of((_OPEN, _signed(who))),
    "financial": lambda who: _FINANCIAL,
    "intake": lambda who: _INTAKE,
    "case-patients": lambda who: _cases(who, _OPEN, patients=True),
    "case": lambda who: _cases(who, _OPEN),
    "case-financial": lambda who: _cases(who, _FINANCIAL),
    "case-legal": lambda who: _own(who, _LEGAL),
    "case-own": lambda who: _own(who, _OPEN, _named(who, _PARTIES)),
    "released": lambda who: _cases(who, Released(who.at), _OPEN, _signed(who)),
}


def reach(limit: Limit, who: Who) -> Tree:
    """Return the rows that a limit lets a member reach."""
    return _TREES[limit](who)


def together(trees: Sequence[Tree]) -> Tree:
    """Return what one of the trees reaches; the care that all of them ask for is asked once, and first."""
    cares = [_care_in(tree) for tree in trees]
    if not all(cares) or len({(care.member, care.at) for care in cares if care}) != 1 or cares[0] is None:
        return any_of(trees)
    care = InCare(cares[0].member, cares[0].at)
    rest = [all_of(part for part in (tree.parts if isinstance(tree, And) else ()) if part != care) for tree in trees]
    return And((any_of(rest), care))


def _care_in(tree: Tree) -> InCare | None:
    parts = tree.parts if isinstance(tree, And) else (tree,)
    return next((part for part in parts if isinstance(part, InCare)), None)
