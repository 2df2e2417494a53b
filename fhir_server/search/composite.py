"""Composite parameters: values that stand together. http://hl7.org/fhir/R4/search.html#composite

Parts of an element that a resource has once are asked by their own parameters; parts of an element that repeats are
asked of the entries that composite_index.py makes of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import product

import msgspec

from conformance.search_params import SearchParam
from fhir_server.search import date
from fhir_server.search.composite_index import scale_key, seconds, unit_key
from fhir_server.search.composite_parts import Composite, Within
from fhir_server.search.match import (
    Asked,
    folded,
    leaf,
    number_range,
    quantity_parts,
    reference_hashes,
    system_and_code,
    token_hashes,
    uri_hashes,
)
from fhir_server.search.quantity import scaled
from fhir_server.search.reference import Place
from fhir_server.search.terms import prefixed, split, unescape
from fhir_server.search.tree import ElementMatch, Nothing, Span, Tree, all_of, any_of


class _Piece(msgspec.Struct, frozen=True):
    """One part as it is asked of an element's entries.

    `forms` are how the part may stand in the row's key (None: in any way), `holds` what its keys hold one of.
    """

    forms: tuple[object, ...] | None
    holds: tuple[int, ...] | None = None
    span: Span | None = None
    starts: str = ""


def together(found: Composite, text: str, place: Place, now: datetime | None) -> Tree:
    """Return the tree of one value, such as `code$value`. Raises ValueError."""
    texts = split(text, "$")
    if len(texts) != len(found.names) or "" in texts:
        raise ValueError(f"{'$'.join(found.names)} is expected")
    trees = [_all(parts, texts, place, now) for parts in found.together]
    return any_of([*trees, *(_within(found, one, texts, place, now) for one in found.within)])


def _all(parts: Iterable[SearchParam], texts: Iterable[str], place: Place, now: datetime | None) -> Tree:
    return all_of([leaf(Asked(part, "", text, place, now)) for part, text in zip(parts, texts, strict=True)])


def _within(found: Composite, one: Within, texts: Sequence[str], place: Place, now: datetime | None) -> Tree:
    """Return that one element has all the values; what is read from the resource is asked of that."""
    asked = [Asked(param, "", text, place, now) for param, text in zip(one.parts, texts, strict=True)]
    trees = [leaf(part) for part, outside in zip(asked, one.outside, strict=True) if outside]
    inside = {n: _PIECES[part.param.kind](part) for n, part in enumerate(asked) if not one.outside[n]}
    if any(piece.forms == () or piece.holds == () for piece in inside.values()):
        return Nothing()
    match = _match(one, inside, place)
    if not match.keys:
        # Nothing leads to the element itself, so the index is to find the resource by the parts' own parameters.
        known = [(d, t) for d, t, p in zip(found.definitions, texts, one.parts, strict=True) if d and d.kind == p.kind]
        trees += [leaf(Asked(definition, "", text, place, now)) for definition, text in known]
    return all_of([*trees, match])


def _match(one: Within, inside: Mapping[int, _Piece], place: Place) -> ElementMatch:
    hasher, tenant, base = place.hasher, place.tenant_id, one.parts[0].base
    salt = hasher.salt(tenant, base, one.name)
    forms = [piece.forms for piece in inside.values() if piece.forms is not None]
    keys: tuple[int, ...] = ()
    holds: list[tuple[int, ...]] = []
    if len(forms) == len(inside):
        keys = tuple(hasher.together(one.name, chosen) ^ salt for chosen in product(*forms))
    else:
        holds.append((scale_key(place, [form for group in forms for form in group if isinstance(form, str)]) ^ salt,))
    for number, piece in inside.items():
        if piece.holds is not None:
            own = hasher.salt(tenant, base, one.salt_of(number))
            holds.append(tuple(found ^ own for found in piece.holds))
    spans = tuple(piece.span for piece in inside.values() if piece.span)
    return ElementMatch(keys, tuple(holds), spans, "".join(piece.starts for piece in inside.values()))


# ---- parts ------------------------------------------------------------------------------------------------------


def _token(asked: Asked) -> _Piece:
    system, code = system_and_code(asked.text)
    if code is None:
        return _Piece(None, tuple(token_hashes(asked, system, None)))
    holds = None if system is None else tuple(token_hashes(asked, system, code))
    return _Piece(tuple(token_hashes(asked, None, code)), holds)


def _number(asked: Asked) -> _Piece:
    prefix, exact, low, high = number_range(unescape(asked.text))
    return _Piece(("",), span=Span(prefix, float(exact), float(low), float(high)))


def _quantity(asked: Asked) -> _Piece:
    text, name, unit = quantity_parts(asked.text)
    if name is None:
        return _number(asked)
    prefix, *values = number_range(text)
    exact, low, high = (scaled(value, unit) for value in values)
    span = Span(prefix, exact, low, high)
    if name.startswith("||"):
        return _Piece(("",), (unit_key(asked.place, name),), span)
    return _Piece((name,), span=span)


def _date(asked: Asked) -> _Piece:
    prefix, text = prefixed(unescape(asked.text))
    low, high = date.parse(text)
    if prefix == "ap":
        low, high = date.approximate(low, high, asked.moment())
    return _Piece(("",), span=Span(prefix, 0.0, seconds(low), seconds(high), dates=True))


_PIECES: dict[str, Callable[[Asked], _Piece]] = {
    "token": _token,
    "reference": lambda asked: _Piece(tuple(reference_hashes(asked))),
    "uri": lambda asked: _Piece(tuple(uri_hashes(asked))),
    "number": _number,
    "quantity": _quantity,
    "date": _date,
    "string": lambda asked: _Piece(("",), starts=folded(asked)),
}
