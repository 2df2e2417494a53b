"""The SQL of leaves that the narrow tables answer: what an entry `x` of dates, strings or numbers must be.

http://hl7.org/fhir/R4/search.html#prefix
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from fhir_server.search.date import BEGINNING, LONGEST
from fhir_server.search.text import CUT, after
from fhir_server.search.tree import (
    DateMatch,
    ElementMatch,
    Entry,
    NumberMatch,
    Prefix,
    Present,
    Span,
    StringContains,
    StringIs,
    StringStarts,
    WordsMatch,
)

Params: TypeAlias = tuple[Any, ...]
Sql: TypeAlias = tuple[str, Params]
# A condition with the names of the bounds that fill it.
Terms: TypeAlias = tuple[tuple[str, ...], ...]


class OneDate(msgspec.Struct, frozen=True):
    """Several comparisons of one and the same date of a resource."""

    matches: tuple[DateMatch, ...]


Narrow: TypeAlias = Entry | OneDate

# By prefix: what holds for short intervals, and for long ones. `a` and `b` are the bounds of the search, `b-` and `a-`
# the same less the longest that a short interval can be, `m` the lesser of `a` and `b-`. A condition on `lo` alone
# bounds the scan of the index.
_CONTAINED: Terms = (("x.lo >= %s", "a"), ("x.lo <= %s", "b"), ("x.hi <= %s", "b"))
_STARTS_BEFORE: Terms = (("x.lo < %s", "a"),)
_STARTS_AFTER: Terms = (("x.lo >= %s", "b"),)
_ENDS_BEFORE: Terms = (("x.lo <= %s", "a"), ("x.hi <= %s", "a"))
_ENDS_AFTER: Terms = (("x.hi > %s", "b"),)
_OUTSIDE: Terms = (("(x.lo < %s or x.hi > %s)", "a", "b"),)
_AT_LEAST: Terms = (("(x.lo >= %s or x.hi > %s)", "a", "b"),)
_AT_MOST: Terms = (("x.lo <= %s", "b"), ("(x.lo < %s or x.hi <= %s)", "a", "b"))
_MEETS: Terms = (("x.lo < %s", "b"), ("x.hi > %s", "a"))
_DATES: dict[Prefix, tuple[Terms, Terms]] = {
    "eq": (_CONTAINED, _CONTAINED),
    "ne": (_OUTSIDE, _OUTSIDE),
    "gt": ((("x.lo >= %s", "b-"), *_ENDS_AFTER), _ENDS_AFTER),
    "lt": (_STARTS_BEFORE, _STARTS_BEFORE),
    "ge": ((("x.lo >= %s", "m"), *_AT_LEAST), _AT_LEAST),
    "le": (_AT_MOST, _AT_MOST),
    "sa": (_STARTS_AFTER, _STARTS_AFTER),
    "eb": (_ENDS_BEFORE, _ENDS_BEFORE),
    "ap": ((("x.lo >= %s", "a-"), *_MEETS), _MEETS),
}
_NUMBERS: dict[Prefix, Terms] = {
    "eq": (("x.lo >= %s", "low"), ("x.lo < %s", "high"), ("x.hi < %s", "high")),
    "ne": (("(x.lo < %s or x.hi >= %s)", "low", "high"),),
    "gt": (("x.hi > %s", "exact"),),
    "lt": (("x.lo < %s", "exact"),),
    "ge": (("x.hi >= %s", "exact"),),
    "le": (("x.lo <= %s", "exact"),),
    "sa": (("x.lo > %s", "exact"),),
    "eb": (("x.hi < %s", "exact"),),
    "ap": (("x.lo <= %s", "high"), ("x.hi >= %s", "low")),
}

_COMPARISON = re.compile(r"(x\.\w+) ([<>]=?) %s")
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_FROM = frozenset(("eq", "gt", "ge", "sa", "ap"))
_UNTIL = frozenset(("eq", "lt", "le", "eb", "ap"))


def table_of(leaf: Narrow) -> str:
    """Return the table that holds the entries of a leaf."""
    match leaf:
        case StringStarts() | StringIs() | StringContains():
            return "idx_string"
        case Present(table):
            return table
        case NumberMatch():
            return "idx_number"
        case ElementMatch():
            return "idx_composite"
        case WordsMatch():
            return "idx_text"
    return "idx_date"


def entry(leaf: Narrow) -> Sql:
    """Return the condition on an entry `x`, in brackets."""
    match leaf:
        case StringStarts():
            return _string(leaf)
        case StringIs(param, value):
            return "(x.param = %s and x.value = %s)", (param, value)
        case StringContains(param, value):
            return "(x.param = %s and strpos(split_part(x.value, %s, 1), %s) > 0)", (param, CUT, value)
        case WordsMatch(query):
            return "(x.words @@ %s::tsquery)", (query,)
        case Present(_, params):
            return "(x.param = any(%s::int[]))", (list(params),)
        case NumberMatch():
            return _number(leaf)
        case DateMatch():
            return _date((leaf,))
        case ElementMatch():
            return _element(leaf)
    return _date(leaf.matches)


def tiers(matches: Sequence[DateMatch | NumberMatch], number: int) -> list[Sql]:
    """Return what the matches of one parameter ask of its entries, by the numbers that those have, after an `and`."""
    found: list[list[Sql]] = [[] for _ in range(number)]
    for match in matches:
        for tier, pieces in enumerate(found):
            if isinstance(match, DateMatch):
                pieces.append(_filled(_DATES[match.prefix][tier], _bounds(match)))
            else:
                pieces.append(_filled(_NUMBERS[match.prefix], _numbers(match)))
    return [("".join(sql for sql, _ in one), tuple(v for _, values in one for v in values)) for one in found]


def selective(matches: tuple[DateMatch, ...]) -> bool:
    """Tell whether the comparisons of a date leave a window no wider than a month or so, and so few rows."""
    lows = [m.low if m.prefix in ("eq", "ge", "ap") else m.high for m in matches if m.prefix in _FROM]
    highs = [m.high if m.prefix in ("eq", "le", "ap") else m.low for m in matches if m.prefix in _UNTIL]
    return bool(lows and highs) and min(highs) - max(lows) <= LONGEST


def probe(leaf: Narrow) -> Sql | None:
    """Return a condition on an entry `x` that one scan of an index answers, of most entries that `entry` asks for.

    None where an index would be read from its start.
    """
    match leaf:
        case DateMatch():
            return _probe_of_dates((leaf,))
        case OneDate(matches):
            return _probe_of_dates(matches)
        case NumberMatch(prefix=prefix) if prefix not in ("eq", "sa", "lt", "le"):
            return None
    return entry(leaf)


def _probe_of_dates(matches: tuple[DateMatch, ...]) -> Sql:
    sql, params = _tier(matches, 0)
    return f"x.param = %s{sql}", (matches[0].param, *params)


def _string(leaf: StringStarts) -> Sql:
    end = after(leaf.value)
    if end is None:
        return "(x.param = %s and x.value >= %s)", (leaf.param, leaf.value)
    return "(x.param = %s and x.value >= %s and x.value < %s)", (leaf.param, leaf.value, end)


def _number(leaf: NumberMatch) -> Sql:
    sql, params = _filled(_NUMBERS[leaf.prefix], _numbers(leaf))
    return f"(x.param = %s{sql})", (leaf.param, *params)


def _numbers(leaf: NumberMatch) -> dict[str, float]:
    return {"low": leaf.low, "high": leaf.high, "exact": leaf.exact}


def _element(leaf: ElementMatch) -> Sql:
    pieces: list[Sql] = [("x.key = any(%s::bigint[])", (list(leaf.keys),))] if leaf.keys else []
    pieces += [_span(number, span) for number, span in enumerate(leaf.spans)]
    pieces += [("x.keys && %s::bigint[]", (list(group),)) for group in leaf.holds]
    if leaf.starts:
        end = after(leaf.starts)
        pieces.append(("x.value >= %s", (leaf.starts,)))
        pieces += [("x.value < %s", (end,))] if end is not None else []
    return f"({' and '.join(sql for sql, _ in pieces)})", tuple(value for _, params in pieces for value in params)


def _span(number: int, span: Span) -> Sql:
    if span.dates:
        terms, bounds = _DATES[span.prefix][1], {"a": span.low, "b": span.high}
    else:
        terms, bounds = _NUMBERS[span.prefix], {"low": span.low, "high": span.high, "exact": span.exact}
    sql, params = _filled(terms, bounds)
    if number:
        sql = sql.replace("x.lo ", f"x.lo{number + 1} ").replace("x.hi ", f"x.hi{number + 1} ")
    return sql.removeprefix(" and "), params


def _date(matches: tuple[DateMatch, ...]) -> Sql:
    """Return the condition on a short interval or on a long one; only the short one where no long one can meet it."""
    short, long = _tier(matches, 0), _tier(matches, 1)
    param, long_param = matches[0].param, matches[0].long_param
    if any(match.prefix == "eq" and match.high - match.low <= LONGEST for match in matches):
        return f"(x.param = %s{short[0]})", (param, *short[1])
    if short == long:
        return f"(x.param = any(%s::int[]){short[0]})", ([param, long_param], *short[1])
    sql = f"((x.param = %s{short[0]}) or (x.param = %s{_turned(long[0])}))"
    return sql, (param, *short[1], long_param, *long[1])


def _turned(sql: str) -> str:
    """Return the same comparisons the other way round.

    What both sides of an OR say alike PostgreSQL takes out of it, and then no longer sees that `lo` is held between two
    bounds: it expected 7,000 rows of 350 and walked the whole table.
    """
    return _COMPARISON.sub(lambda found: f"%s {_FLIPPED[found[2]]} {found[1]}", sql)


def _tier(matches: tuple[DateMatch, ...], tier: int) -> Sql:
    pieces = [_filled(_DATES[match.prefix][tier], _bounds(match)) for match in matches]
    return "".join(sql for sql, _ in pieces), tuple(value for _, params in pieces for value in params)


def _bounds(match: DateMatch) -> dict[str, datetime]:
    low, high = _less(match.low), _less(match.high)
    return {"a": match.low, "b": match.high, "a-": low, "b-": high, "m": min(match.low, high)}


def _less(moment: datetime) -> datetime:
    return max(moment, BEGINNING + LONGEST) - LONGEST


def _filled(terms: Terms, bounds: dict[str, Any]) -> Sql:
    sql = "".join(f" and {term[0]}" for term in terms)
    return sql, tuple(bounds[name] for term in terms for name in term[1:])
