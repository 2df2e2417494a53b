"""A limit of a role rule as a search tree: the rows that it lets a member reach, as of now.

How far `signed` reaches: a draft is known by its status, and a document by its docStatus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import msgspec

from fhir_server.context import Member, Tenant
from fhir_server.search.hashing import Hasher
from fhir_server.search.ownership import Class
from fhir_server.search.tree import (
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

    @property
    def hasher(self) -> Hasher:
        """Return what makes the keys."""
        return self.rules.hasher

    def care(self, *kinds: str) -> Tree:
        """Return the rows of patients in the member's care: none for one who is no Practitioner in the records."""
        kind, _, name = (self.member.reference or "").partition("/")
        if kind != "Practitioner" or not name:
            return Nothing()
        return InCare(self.hasher.self_key(self.tenant.id, kind, name), self.at, kinds)

    def named(self, codes: Iterable[str]) -> Tree:
        """Return the rows that name the member by one of these parameters, as far as the type has them."""
        kind, _, name = (self.member.reference or "").partition("/")
        known = self.rules.registry.specified(self.type)
        own = [code for code in codes if code in known and kind in known[code].targets]
        keys = [self.hasher.reference(self.tenant.id, self.type, code, kind, name) for code in own]
        return any_of([AnyKey(tuple(keys))] if keys else [])

    def cases(self, *limits: Tree, patients: bool = False) -> Tree:
        """Return the rows of the member's cases with a live release, as far as all limits hold."""
        return all_of((OfCases(self.member.person, self.at, patients), *limits))


def _released(who: Who) -> Tree:
    return who.cases(Released(who.at), _OPEN, signed(who.hasher, who.tenant.id, who.type))


_TREES: Mapping[Limit, Callable[[Who], Tree]] = {
    "all": lambda who: Everything(),
    "open": lambda who: _OPEN,
    "care": lambda who: all_of((who.care(), _OPEN)),
    "treating": lambda who: all_of((who.care(*_TREATING), _GUARDED)),
    "author": lambda who: all_of((who.care(), who.named(_AUTHORS), _GUARDED)),
    "assigned": lambda who: all_of((who.care("assigned"), _GUARDED)),
    "signed": lambda who: all_of((_OPEN, signed(who.hasher, who.tenant.id, who.type))),
    "financial": lambda who: _FINANCIAL,
    "intake": lambda who: _INTAKE,
    "case-patients": lambda who: who.cases(_OPEN, patients=True),
    "case": lambda who: who.cases(_OPEN),
    "case-financial": lambda who: who.cases(_FINANCIAL),
    "case-legal": lambda who: who.cases(_LEGAL, who.cases(patients=True)),
    "case-own": lambda who: who.cases(_OPEN, who.cases(patients=True), who.named(_PARTIES)),
    "released": _released,
}


def reach(limit: Limit, who: Who) -> Tree:
    """Return the rows that a limit lets a member reach."""
    return _TREES[limit](who)
