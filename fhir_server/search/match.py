"""One value of one search parameter as a leaf of the tree, by kind. http://hl7.org/fhir/R4/search.html#ptypes

The counterpart of kinds.py: what that puts into the index, this asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal

import msgspec

from conformance import ucum
from conformance.r4 import facts
from conformance.search_params import SearchParam
from fhir_server.search import date, number
from fhir_server.search.hashing import param_id
from fhir_server.search.kinds import long_param_id, unit_param_id
from fhir_server.search.quantity import measure, scaled
from fhir_server.search.reference import Place
from fhir_server.search.terms import prefixed, split, unescape
from fhir_server.search.text import MAX_LENGTH, fold
from fhir_server.search.token import BARE, searched
from fhir_server.search.tree import (
    AllKeys,
    DateMatch,
    IdIn,
    NumberMatch,
    Prefix,
    StringStarts,
    Tree,
    Updated,
    any_of,
)

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+\Z")
_TRUTH = "http://terminology.hl7.org/CodeSystem/special-values"


class Asked(msgspec.Struct, frozen=True):
    """One value as it was asked for; `text` still has its escapes, `now` is needed by `ap` alone."""

    param: SearchParam
    modifier: str
    text: str
    place: Place
    now: datetime | None

    def keys(self, hashes: Iterable[int], modifier: str = "") -> Tree:
        """Return the leaf for a row that holds one of these hashes under this parameter, or under its modifier."""
        salt = self.place.hasher.salt(self.place.tenant_id, self.param.base, self.param.code + modifier)
        return any_of([AllKeys((found ^ salt,)) for found in hashes])

    def moment(self) -> datetime:
        """Return the current time. Raises ValueError where none was passed in."""
        if self.now is None:
            raise ValueError("ap cannot be used here: it is relative to the current time")
        return self.now


# ---- token ------------------------------------------------------------------------------------------------------


def _token(asked: Asked) -> Tree:
    return asked.keys(token_hashes(asked, *system_and_code(asked.text)))


def token_hashes(asked: Asked, system: str | None, code: str | None) -> list[int]:
    """Return the hashes to look for, as the types of the parameter write what is asked for. Raises ValueError."""
    types = asked.param.types
    if types == {"boolean"} and code not in ("true", "false"):
        raise ValueError("true or false is expected")
    hasher = asked.place.hasher
    full = types - BARE
    found = dict.fromkeys(searched(hasher, sorted(full), system, code)) if full else {}
    for branch in asked.param.branches:
        if branch.type in BARE:
            codes = implied(branch.type, branch.required, system, code)
            found.update(dict.fromkeys(h for c in codes for h in searched(hasher, (branch.type,), None, c)))
    return list(found)


def system_and_code(text: str) -> tuple[str | None, str | None]:
    """Return a token's parts: None for any system, "" for none; None for any code."""
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) > 2:
        raise ValueError(r"more than one '|'; one inside of a code is written '\|'")
    if not any(parts):
        raise ValueError("neither a system nor a code")
    return (None, parts[0]) if len(parts) == 1 else (parts[0], parts[1] or None)


def implied(fhir_type: str, value_set: str | None, system: str | None, code: str | None) -> Iterable[str]:
    """Return the codes to look for in an element that holds codes only and leaves their system to its definition."""
    if not system:
        return () if code is None else (code,)
    if fhir_type == "boolean":
        known: dict[str, tuple[str, ...]] | None = {_TRUTH: ("true", "false")}
    else:
        known = dict(facts.value_sets().get(value_set or "", {})) or None if fhir_type == "code" else {}
    if known is None:  # a value set that cannot be listed, such as all MIME types
        return () if code is None else (code,)
    if code is None:
        return known.get(system, ())
    return (code,) if system in known else ()


def _id(asked: Asked) -> Tree:
    return IdIn((unescape(asked.text),))


# ---- reference and uri ------------------------------------------------------------------------------------------


def _reference(asked: Asked) -> Tree:
    return asked.keys(reference_hashes(asked))


def reference_hashes(asked: Asked) -> list[int]:
    """Return the hashes to look for. Raises ValueError for what is no reference."""
    text, place = unescape(asked.text), asked.place
    if asked.modifier:
        text = text.removeprefix(f"{asked.modifier}/")
        if not _ID.match(text):
            raise ValueError(f"the id of a {asked.modifier} is expected")
        return [place.hasher.self_key(place.tenant_id, asked.modifier, text)]
    if _ID.match(text):
        return [place.hasher.self_key(place.tenant_id, kind, text) for kind in asked.param.targets]
    if found := place.local(text):
        return [place.self_key(found)]
    if not _ABSOLUTE.match(text):
        raise ValueError("not a reference such as Patient/1, 1, an absolute URL or a URN")
    return [place.hasher.uri_hash(text.partition("/_history/")[0])]


def uri_hashes(asked: Asked) -> list[int]:
    """Return the hash to look for."""
    return [asked.place.hasher.uri_hash(unescape(asked.text))]


def _uri(asked: Asked) -> Tree:
    return asked.keys(uri_hashes(asked))


# ---- string, date, number ---------------------------------------------------------------------------------------


def folded(asked: Asked) -> str:
    """Return the text to look for. Raises ValueError."""
    value = fold(unescape(asked.text))
    if not value:
        raise ValueError("no text to look for")
    if len(value) > MAX_LENGTH:
        raise ValueError(f"a text longer than {MAX_LENGTH} characters")
    return value


def _string(asked: Asked) -> Tree:
    return StringStarts(param_id(asked.param.base, asked.param.code), folded(asked))


def _date(asked: Asked) -> Tree:
    prefix, text = prefixed(unescape(asked.text))
    low, high = date.parse(text)
    if prefix == "ap":
        low, high = date.approximate(low, high, asked.moment())
    base, code = asked.param.base, asked.param.code
    if code == "_lastUpdated":
        return Updated(prefix, low, high)
    return DateMatch(param_id(base, code), long_param_id(base, code), prefix, low, high, asked.param.single)


def _number(asked: Asked) -> Tree:
    prefix, exact, low, high = number_range(unescape(asked.text))
    return NumberMatch(param_id(asked.param.base, asked.param.code), prefix, float(exact), float(low), float(high))


def number_range(text: str) -> tuple[Prefix, Decimal, Decimal, Decimal]:
    """Return the prefix of a number, the number, and the range that it stands for. Raises ValueError."""
    prefix, rest = prefixed(text)
    exact, half = number.parse(rest)
    low, high = number.approximate(exact, half) if prefix == "ap" else (exact - half, exact + half)
    return prefix, exact, low, high


def _quantity(asked: Asked) -> Tree:
    """Return the leaf for number, number|system|code or number||unit."""
    text, name, unit = quantity_parts(asked.text)
    if name is None:
        return _number(asked)
    prefix, *values = number_range(text)
    bounds = [scaled(value, unit) for value in values]
    branches = {branch.path: branch for branch in asked.param.branches if branch.type in number.SPANS}
    base = asked.param.base
    return any_of([NumberMatch(unit_param_id(base, branch, name), prefix, *bounds) for branch in branches.values()])


def quantity_parts(text: str) -> tuple[str, str | None, ucum.Unit | None]:
    """Return the number of a quantity, the name of its unit in the index, and the unit where it is scaled.

    The name is None where no unit is asked for. Raises ValueError.
    """
    parts = split(text, "|")
    if len(parts) == 1:
        return unescape(text), None, None
    system, code = unescape(parts[1]), unescape(parts[-1])
    if len(parts) != 3 or not code:
        raise ValueError("number, number|system|code or number||unit is expected")
    name, unit = measure(system, code) if system else (f"||{code}", None)
    return parts[0], name, unit


# What can be searched: by kind of parameter, and before that by code. Raises ValueError for a value it cannot use.
LEAVES: dict[str, Callable[[Asked], Tree]] = {
    "token": _token,
    "reference": _reference,
    "uri": _uri,
    "string": _string,
    "date": _date,
    "number": _number,
    "quantity": _quantity,
}
LEAVES_BY_CODE: dict[str, Callable[[Asked], Tree]] = {"_id": _id}


def leaf(asked: Asked) -> Tree:
    """Return the leaf for one value. Raises ValueError saying what is wrong with it."""
    return (LEAVES_BY_CODE.get(asked.param.code) or LEAVES[asked.param.kind])(asked)
