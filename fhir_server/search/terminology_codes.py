"""Sets of codes: some listed, some all of a code system. http://hl7.org/fhir/R4/valueset.html#composition"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from fhir_server.search.token import coded

Code = tuple[str, str]


class Codes(msgspec.Struct, frozen=True):
    """Codes by (system, code), and the systems of which every code belongs to the set."""

    listed: frozenset[Code] = frozenset()
    whole: frozenset[str] = frozenset()

    def intersection(self, other: Codes) -> Codes:
        """Return what is in both."""
        listed = {code for code in self.listed if other.holds(code)} | {c for c in other.listed if self.holds(c)}
        return Codes(frozenset(listed), self.whole & other.whole)

    def difference(self, other: Codes) -> Codes:
        """Return what is not in the other; systems of which it takes a part must be listed before (`broken`)."""
        return Codes(frozenset(code for code in self.listed if not other.holds(code)), self.whole - other.whole)

    def broken(self, other: Codes) -> frozenset[str]:
        """Return the whole systems here of which the other takes a part."""
        return (self.whole - other.whole) & {system for system, _ in other.listed}

    def holds(self, code: Code) -> bool:
        """Tell whether a code is in the set."""
        return code in self.listed or code[0] in self.whole


def listed(system: str, codes: Iterable[str]) -> Codes:
    """Return codes of a system, as they are compared within it."""
    return Codes(frozenset((system, coded(system, code)) for code in codes))


def contained(expansion: dict[str, Any]) -> Codes | None:
    """Return the codes of a stored expansion; None where it is a part of one."""
    found: set[Code] = set()
    number = 0
    rest = list(expansion.get("contains", ()))
    while rest:
        one = rest.pop()
        number += 1
        rest += one.get("contains", ())
        if (system := one.get("system")) and (code := one.get("code")) and not one.get("abstract"):
            found.add((system, coded(system, code)))
    if expansion.get("offset") or expansion.get("total", number) > number:
        return None
    return Codes(frozenset(found))
