"""Numbers with their digits as sent: NM, SN, CQ, NR and reference ranges → Quantity, Range, Ratio.

HL7 v2.5.1 chapter 2.A.47 (NM), 2.A.72 (SN); https://hl7.org/fhir/R4/datatypes.html#Quantity
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

from mappings.context import Codes, Context
from mappings.mapped import Json
from mappings.value import Value

UCUM = "http://unitsofmeasure.org"
_MOST_DIGITS = 32
_LONGEST_RANGE = 100
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
_COMPARED = re.compile(rf"(<=|>=|<|>|=<|=>|=)?\s*({_NUMBER})\Z", re.ASCII)
_BETWEEN = re.compile(rf"[\[(]?\s*({_NUMBER})\s*(?:-|–|_|;|\bto\b)\s*({_NUMBER})\s*[\])]?\s*(.*)\Z", re.ASCII)
_ONE_SIDED = re.compile(rf"(<=|=<|>=|=>)\s*({_NUMBER})\s*(.*)\Z", re.ASCII)
_COMPARATORS = {"<": "<", ">": ">", "<=": "<=", "=<": "<=", ">=": ">=", "=>": ">="}


def number(text: str) -> Decimal | None:
    """Return a decimal with the digits of `text`, or None where it is no plain number (or absurdly long)."""
    found = _COMPARED.match(text) if len(text) <= _MOST_DIGITS else None
    if not found or found.group(1):
        return None
    value = Decimal(found.group(2))
    return abs(value) if value.is_zero() else value


def compared(text: str) -> Json | None:
    """Return a Quantity's value and comparator: `<5` is no NM, but comes."""
    found = _COMPARED.match(text.strip()) if len(text) <= 2 * _MOST_DIGITS else None
    value = number(found.group(2)) if found else None
    if found is None or value is None:
        return None
    comparator = _COMPARATORS.get(found.group(1) or "")
    return {"value": value} | ({"comparator": comparator} if comparator else {})


def unit(value: Value, cx: Context) -> Json:
    """CWE of units → unit, and system and code where they are declared to be UCUM; else what was written."""
    text, shown = value.code(1), value.text(2)
    if cx.systems.codes.get(value.text(3).upper()) == UCUM and text:
        return {"unit": shown or text, "system": UCUM, "code": text}
    written = shown or text or value.text(9)
    return {"unit": written} if written else {}


def structured(value: Value, units: Json) -> tuple[str, Json] | None:
    """SN → (`valueQuantity` | `valueRange` | `valueRatio`, its content); None where it is not a number."""
    comparator, first = value.text(1), number(value.text(2))
    separator, second = value.text(3), number(value.text(4))
    if first is None or comparator == "<>" or separator == "+":
        return None
    known = _COMPARATORS.get(comparator)
    left: Json = {"value": first} | ({"comparator": known} if known else {}) | units
    if separator in (":", "/") and second is not None:
        return "valueRatio", {"numerator": left, "denominator": {"value": second} | units}
    if separator == "-" and second is not None and not known:
        return "valueRange", {"low": {"value": first} | units, "high": {"value": second} | units}
    return None if separator or second is not None else ("valueQuantity", left)


def reference_range(text: str, units: Json) -> Json:
    """OBX-7 → referenceRange: the text as sent, and its bounds where it plainly says them.

    FHIR's bounds are inclusive, so `<5` gives no bound: its text alone is true.
    """
    bounds, rest = _bounds(text) if len(text) <= _LONGEST_RANGE else ((), "")
    found: Json = {name: {"value": bound} | units for name, bound in bounds} if _same_unit(rest, units) else {}
    return found | {"text": text}


@lru_cache(maxsize=1024)
def _bounds(text: str) -> tuple[tuple[tuple[str, Decimal], ...], str]:
    """Return the bounds that a range says, and what stands behind them; a laboratory has few ranges."""
    if between := _BETWEEN.match(text):
        low, high = number(between.group(1)), number(between.group(2))
        if low is None or high is None or low > high:
            return (), ""
        return (("low", low), ("high", high)), between.group(3)
    if one := _ONE_SIDED.match(text):
        bound = number(one.group(2))
        if bound is not None:
            return (("high" if "<" in one.group(1) else "low", bound),), one.group(3)
    return (), ""


def simple(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """CQ → Quantity."""
    amount = number(value.text(1))
    if amount is None:
        if value.text(1):
            cx.warn("value", f"{value.text(1)!r} is no number")
        return None
    return {"value": amount} | unit(value.sub(2), cx)


def days(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """NM → Duration in days."""
    amount = number(value.text(1))
    if amount is None or amount <= 0:
        return None
    return {"value": amount, "unit": "days", "system": UCUM, "code": "d"}


def numeric_range(value: Value, units: Json) -> Json | None:
    """NR → Range."""
    found = {}
    for key, place in (("low", 1), ("high", 2)):
        bound = number(value.text(place))
        if bound is not None:
            found[key] = {"value": bound} | units
    return found or None


def positive(value: Value, cx: Context, codes: Codes | None) -> int | None:
    """NM → positiveInt."""
    text = value.text(1)
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    if text:
        cx.warn("value", f"{text!r} is no positive whole number")
    return None


def _same_unit(rest: str, units: Json) -> bool:
    return not rest or rest.lower() in {str(units.get(key, "")).lower() for key in ("unit", "code")}
