"""Units of measure brought to base units, so that 1 g is 1000 mg. https://ucum.org/ucum

The tables hold the units that clinical resources use, with the values that UCUM's own tables give them. Amount of
substance, activity and other units that UCUM makes a bare number (mol, [IU], osm …) keep a dimension of their own here,
so that a count per litre never equals a concentration. An unknown unit has no canonical form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache

import msgspec

SYSTEM = "http://unitsofmeasure.org"
_LONGEST = 60
_ONE = Decimal(1)


class Unit(msgspec.Struct, frozen=True):
    """A unit: `value * factor + offset` is in base units, which `dimension` names; equal names can be compared."""

    factor: Decimal
    dimension: str
    offset: Decimal = Decimal(0)


_Powers = dict[str, int]

_PREFIXES: Mapping[str, Decimal] = {
    letters: Decimal(10) ** power
    for letters, power in {
        "Y": 24,
        "Z": 21,
        "E": 18,
        "P": 15,
        "T": 12,
        "G": 9,
        "M": 6,
        "k": 3,
        "h": 2,
        "da": 1,
        "d": -1,
        "c": -2,
        "m": -3,
        "u": -6,
        "n": -9,
        "p": -12,
        "f": -15,
        "a": -18,
        "z": -21,
        "y": -24,
    }.items()
}
_BASE = frozenset(("m", "s", "g", "rad", "K", "C", "cd", "mol", "osm", "eq", "[pH]", "[iU]", "[arb'U]", "[CFU]", "B"))
# Take prefixes: a number and the units that one of it is.
_METRIC: Mapping[str, tuple[str, str]] = {
    "L": ("1", "dm3"),
    "l": ("1", "dm3"),
    "t": ("1000", "kg"),
    "Hz": ("1", "s-1"),
    "N": ("1", "kg.m/s2"),
    "Pa": ("1", "N/m2"),
    "bar": ("100000", "Pa"),
    "J": ("1", "N.m"),
    "W": ("1", "J/s"),
    "A": ("1", "C/s"),
    "V": ("1", "J/C"),
    "F": ("1", "C/V"),
    "Ohm": ("1", "V/A"),
    "S": ("1", "A/V"),
    "lm": ("1", "cd"),
    "lx": ("1", "lm/m2"),
    "Bq": ("1", "s-1"),
    "Gy": ("1", "J/kg"),
    "Sv": ("1", "J/kg"),
    "cal": ("4.184", "J"),
    "eV": ("1.60217733e-19", "J"),
    "kat": ("1", "mol/s"),
    "U": ("1", "umol/min"),
    "[IU]": ("1", "[iU]"),
    "m[Hg]": ("133.322", "kPa"),
    "m[H2O]": ("9.80665", "kPa"),
}
_PLAIN: Mapping[str, tuple[str, str]] = {
    "%": ("0.01", ""),
    "[ppth]": ("0.001", ""),
    "[ppm]": ("0.000001", ""),
    "min": ("60", "s"),
    "h": ("60", "min"),
    "d": ("24", "h"),
    "wk": ("7", "d"),
    "mo": ("30.4375", "d"),
    "a": ("365.25", "d"),
    "deg": ("0.017453292519943295769", "rad"),
    "[in_i]": ("2.54", "cm"),
    "[ft_i]": ("12", "[in_i]"),
    "[yd_i]": ("3", "[ft_i]"),
    "[mi_i]": ("5280", "[ft_i]"),
    "[lb_av]": ("453.59237", "g"),
    "[oz_av]": ("28.349523125", "g"),
    "[stone_av]": ("14", "[lb_av]"),
    "[gr]": ("64.79891", "mg"),
    "[gal_us]": ("231", "[in_i]3"),
    "[qt_us]": ("57.75", "[in_i]3"),
    "[pt_us]": ("28.875", "[in_i]3"),
    "[cup_us]": ("14.4375", "[in_i]3"),
    "[foz_us]": ("1.8046875", "[in_i]3"),
    "[psi]": ("6.89475729316836", "kPa"),
    "[Cal]": ("1", "kcal"),
    "atm": ("101325", "Pa"),
}
# Scales whose zero is elsewhere stand alone, without a prefix.
_SCALES: Mapping[str, Unit] = {
    "Cel": Unit(_ONE, "K1", Decimal("273.15")),
    "[degF]": Unit(Decimal(5) / 9, "K1", Decimal("459.67") * 5 / 9),
}
_TOKEN = re.compile(
    r"(?P<power>10[*^])(?P<times>[+-]?\d{1,2})?|(?P<atom>(?:[A-Za-z%]|\[[^\]\s]*\])+)(?P<exponent>[+-]?\d{1,2})?"
    r"|(?P<number>\d{1,12})|(?P<note>\{[^{}]*\})|(?P<sign>[./()])"
)


@lru_cache(maxsize=2048)
def canonical(code: str) -> Unit | None:
    """Return a UCUM code's unit in base units; None where it is not one that is known here."""
    if code in _SCALES:
        return _SCALES[code]
    try:
        factor, powers = _term(_tokens(code), 0)
    except ValueError:
        return None
    return Unit(factor, ".".join(f"{name}{power}" for name, power in sorted(powers.items()) if power) or "1")


def _tokens(code: str) -> Iterator[re.Match[str]]:
    if not 0 < len(code) <= _LONGEST:
        raise ValueError(code)
    at = 0
    while at < len(code):
        found = _TOKEN.match(code, at)
        if found is None:
            raise ValueError(code)
        at = found.end()
        yield found


def _term(tokens: Iterator[re.Match[str]], depth: int) -> tuple[Decimal, _Powers]:
    """Return factor and powers of a term, from left to right as UCUM reads it, up to its closing bracket."""
    factor, powers, way, wanted = _ONE, _Powers(), 1, True
    for token in tokens:
        sign = token["sign"]
        if sign == ")" and depth and not wanted:
            return factor, powers
        if sign in (".", "/"):
            if wanted and (sign == "." or powers or factor != 1 or way < 0):
                raise ValueError(sign)
            way, wanted = (1 if sign == "." else -1), True
            continue
        if sign == ")" or (not wanted and not token["note"]):
            raise ValueError(token[0])
        if wanted or not token["note"]:
            part, its = _term(tokens, depth + 1) if sign else _component(token)
            factor *= part**way
            for name, power in its.items():
                powers[name] = powers.get(name, 0) + way * power
        wanted = False
    if wanted or depth:
        raise ValueError("unfinished")
    return factor, powers


def _component(token: re.Match[str]) -> tuple[Decimal, _Powers]:
    if token["note"]:
        return _ONE, {}
    if token["number"]:
        if not int(token["number"]):
            raise ValueError("zero")
        return Decimal(token["number"]), {}
    if token["power"]:
        return Decimal(10) ** int(token["times"] or 1), {}
    factor, powers = _atom(token["atom"])
    exponent = int(token["exponent"] or 1)
    return factor**exponent, {name: power * exponent for name, power in powers.items()}


def _atom(name: str) -> tuple[Decimal, _Powers]:
    if name in _BASE:
        return _ONE, {name: 1}
    if found := _PLAIN.get(name) or _METRIC.get(name):
        factor, powers = _term(_tokens(found[1]), 0) if found[1] else (_ONE, _Powers())
        return Decimal(found[0]) * factor, powers
    for size in (1, 2):
        prefix, rest = name[:size], name[size:]
        if prefix in _PREFIXES and (rest in _METRIC or rest in _BASE):
            factor, powers = _atom(rest)
            return _PREFIXES[prefix] * factor, powers
    raise ValueError(name)
