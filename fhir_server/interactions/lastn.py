"""$lastn: the latest observations of a subject for each code. http://hl7.org/fhir/R4/observation-operation-lastn.html"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from fhir_server.context import Context
from fhir_server.errors import Invalid
from fhir_server.interactions import latest
from fhir_server.interactions.latest import Choice, Moment
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.parameters import pairs, positive
from fhir_server.interactions.service import Service

_SUBJECTS = ("patient", "subject")
# Parameters whose expression has a code in it: one of them, or `category`, is required.
_CODED = (
    "category",
    "code",
    "combo-code",
    "component-code",
    "code-value-",
    "combo-code-value-",
    "component-code-value-",
)
# What orders, cuts or widens the result has its own meaning here.
_REFUSED = ("_sort", "_count", "_total", "_cursor", "_include", "_revinclude", "_summary", "_elements")
_MAX = "max"
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


async def lastn(service: Service, ctx: Context, request: Request) -> Response:
    """Return the `max` latest observations of each code, and those as late as the last of them."""
    given = pairs(request)
    most = _most([value for name, value in given if name == _MAX])
    query = [pair for pair in given if pair[0] != _MAX]
    if ctx.grant.patient is not None and not _named(query, _SUBJECTS):
        query.append(("patient", f"Patient/{ctx.grant.patient}"))
    _check(query)
    choice = Choice("Observation", query, "date", "code")
    return await latest.answer(service, ctx, request, choice, lambda found: _chosen(found, most), given)


def _most(values: Sequence[str]) -> int:
    if len(values) > 1:
        raise Invalid("max is given more than once", "http.max")
    try:
        return positive(values[0]) if values else 1
    except ValueError as wrong:
        raise Invalid(f"max={values[0][:80]} cannot be used: {wrong}", "http.max") from wrong


def _named(query: Sequence[tuple[str, str]], names: Sequence[str]) -> list[str]:
    """Return the values of these parameters, also with modifiers and chains; one that ends in - stands for several."""
    return [
        value
        for key, value in query
        for name in names
        if key.replace(":", ".").partition(".")[0] == name or (name.endswith("-") and key.startswith(name))
    ]


def _check(query: Sequence[tuple[str, str]]) -> None:
    """Raise Invalid for what is not the question of $lastn."""
    for name, _ in query:
        if name.partition(":")[0] in _REFUSED:
            raise Invalid(f"{name[:80]} has no meaning for $lastn", f"http.{name[:80]}")
    subjects = _named(query, _SUBJECTS)
    if len(subjects) != 1 or "," in subjects[0]:
        raise Invalid("$lastn needs one patient or subject", "http.patient")
    if not _named(query, _CODED):
        raise Invalid("$lastn needs a category or a code", "http.category")


def _chosen(found: Sequence[Moment], most: int) -> list[Moment]:
    """Return, of each group, the first `most` and those of the same moment as the last of them; order is kept."""
    taken: dict[int, list[Moment]] = {}
    chosen = []
    for one, group in zip(found, _groups(found), strict=True):
        own = taken.setdefault(group, [])
        if len(own) < most or (one.at is not None and one.at == own[-1].at):
            own.append(one)
            chosen.append(one)
    return chosen


def _groups(found: Sequence[Moment]) -> list[int]:
    """Return the number of the group of each: those that share a code, and those that share one with these."""
    parents = list(range(len(found)))
    first: dict[tuple[str, str], int] = {}

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = number = parents[parents[number]]
        return number

    for number, one in enumerate(found):
        for name in _names(one.element):
            parents[root(number)] = root(first.setdefault(name, number))
    return [root(number) for number in range(len(found))]


def _names(element: str | None) -> Iterator[tuple[str, str]]:
    """Return by what a code equals another: system and code of each coding; a text only where there is none."""
    concept = _decoder.decode(element) if element else {}
    codings = [(c.get("system", ""), c["code"]) for c in concept.get("coding", ()) if "code" in c]
    if codings:
        yield from codings
    elif "text" in concept:
        yield "text", f"\0{concept['text']}"
