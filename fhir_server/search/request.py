"""The parameters of a search, read once into a typed request. http://hl7.org/fhir/R4/search.html

Strict: a parameter that is not known is refused, where R4 says that it SHOULD be ignored, unless the client asks for
leniency; a modifier or a value that cannot be used is refused always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

from conformance.issue import Issue, error
from conformance.search_params import Registry, SearchParam
from fhir_server.errors import Invalid
from fhir_server.limits import Limits
from fhir_server.search import include, sort
from fhir_server.search.chain import LIST, Unknown, link, linked, member
from fhir_server.search.composite import together
from fhir_server.search.composite_parts import composite
from fhir_server.search.hashing import Hasher
from fhir_server.search.include import Include
from fhir_server.search.match import LEAVES, Asked
from fhir_server.search.modify import modifiers, question
from fhir_server.search.reference import Place
from fhir_server.search.sort import Sort
from fhir_server.search.terms import split, unescape
from fhir_server.search.tree import Everything, Tree, WordsMatch, all_of, any_of
from fhir_server.search.words import FULL_TEXT, full_text, query

Total: TypeAlias = Literal["none", "estimate", "accurate"]


class Position(msgspec.Struct, frozen=True):
    """The last row of a page, by its values of the sort keys: the next page begins after it."""

    values: tuple[Any, ...]
    rid: int
    id: str = ""


class SearchRequest(msgspec.Struct, frozen=True):
    """A search as it will be done.

    `count` is the size of a page, 0 where only the total is asked for; `cursor` is the client's text, which
    `page.Pager.resume` turns into `after`; `applied` is what the self link shows, `ignored` names what was left out.
    """

    type: str
    tree: Tree
    sort: tuple[Sort, ...]
    count: int
    total: Total
    cursor: str | None
    applied: list[tuple[str, str]]
    ignored: list[str]
    after: Position | None = None
    includes: tuple[Include, ...] = ()


def parse(
    resource_type: str,
    params: Sequence[tuple[str, str]],
    *,
    tenant_id: int,
    base: str,
    registry: Registry,
    hasher: Hasher,
    limits: Limits,
    lenient: bool = False,
    now: datetime | None = None,
) -> SearchRequest:
    """Return the request that decoded query parameters make, in their order.

    `base` is the tenant's FHIR base without a final slash; `now` is what the prefix `ap` on a date is relative to.
    Raises Invalid with one issue for each parameter that cannot be used, naming it.
    """
    place = Place(hasher, tenant_id, base)
    reader = _Reader(resource_type, registry, place, now, lenient, limits)
    if len(params) > limits.max_parameters:
        raise Invalid(f"{len(params)} parameters in one search; this server takes {limits.max_parameters}", "http")
    for name, value in params:
        reader.take(name, value)
    if reader.issues:
        raise Invalid(reader.issues)
    return reader.request()


class _Unsupported(ValueError):
    """Known to FHIR, and not done here."""


class _Reader:
    """Gathers what the parameters say, and every problem with them."""

    def __init__(
        self, resource_type: str, registry: Registry, place: Place, now: datetime | None, lenient: bool, limits: Limits
    ) -> None:
        self.issues: list[Issue] = []
        self._type = resource_type
        self._registry = registry
        self._place, self._now, self._lenient = place, now, lenient
        self._limits, self._left, self._links = limits, limits.max_values, limits.max_links
        self._trees: list[Tree] = []
        self._applied: list[tuple[str, str]] = []
        self._ignored: list[str] = []
        self._includes: list[Include] = []
        self._controls: dict[str, str] = {}
        self._sort: tuple[Sort, ...] = (Sort(),)

    def take(self, name: str, value: str) -> None:
        """Read one parameter."""
        try:
            _check_text(name, value)
            if name == "_sort":
                self._order(value)
            elif name in _CONTROLS:
                self._control(name, value)
            else:
                self._filter(name, value)
        except ValueError as wrong:
            issue_code = "not-supported" if isinstance(wrong, _Unsupported) else "invalid"
            self._refuse(issue_code, name, f"{name[:100]}={value[:100]}: {wrong}")

    def request(self) -> SearchRequest:
        """Return the request."""
        given, limits = self._controls, self._limits
        count = min(int(given.get("_count", limits.default_page)), limits.max_page)
        if given.get("_summary") == "count":
            count = 0
        total = _TOTALS[given.get("_total", "none")]
        if count == 0 and total == "none":
            # Nothing else is asked for.
            total = "accurate"
        shown = {name: text for name, text in given.items() if name != "_cursor"}
        if "_count" in shown:
            shown["_count"] = str(min(int(shown["_count"]), limits.max_page))
        return SearchRequest(
            type=self._type,
            tree=all_of(self._trees) if self._trees else Everything(),
            sort=self._sort,
            count=count,
            total=total,
            cursor=given.get("_cursor"),
            applied=[*self._applied, *shown.items()],
            ignored=self._ignored,
            includes=tuple(self._includes),
        )

    def _control(self, name: str, value: str) -> None:
        if name in self._controls:
            raise ValueError("given more than once")
        _CONTROLS[name](value)
        self._controls[name] = value

    def _order(self, value: str) -> None:
        keys = sort.read(self._registry, self._place.base, self._type, value, self._limits.max_sorts)
        self._control("_sort", value)
        self._sort = keys

    def _filter(self, name: str, value: str) -> None:
        try:
            if name.partition(":")[0] in include.NAMES:
                self._include(name, value)
            elif len(self._trees) >= self._limits.max_filters:
                raise ValueError(f"more than {self._limits.max_filters} parameters that filter in one search")
            else:
                self._trees.append(self._tree(self._type, name, value))
            self._applied.append((name, value))
        except Unknown as unknown:
            if self._lenient:
                self._ignored.append(name)
            else:
                self._refuse("not-supported", name, str(unknown))

    def _include(self, name: str, value: str) -> None:
        if len(self._includes) >= self._limits.max_includes:
            raise ValueError(f"more than {self._limits.max_includes} includes in one search")
        self._includes.append(include.parse(self._registry, name, value))

    def _tree(self, resource_type: str, name: str, value: str) -> Tree:
        """Return what a parameter asks of a type. Raises Unknown, or ValueError for what cannot be used."""
        if linked(name):
            self._links -= 1
            if self._links < 0:
                raise ValueError(
                    f"more than {self._limits.max_links} links in one search: name the types of its chains"
                )
            most = self._limits.max_link_types
            return link(self._place, self._registry, resource_type, name, most, lambda t, n: self._tree(t, n, value))
        code, _, modifier = name.partition(":")
        if code in self._registry.veiled.get(resource_type, ()):
            raise Unknown(f"you may not search {resource_type} by {code}")
        if name == LIST:
            return member(self._place, resource_type, value)
        if code in full_text(resource_type):
            return self._full_text(resource_type, code, modifier, value)
        param = self._registry.for_type(resource_type).get(code)
        if param is None:
            raise Unknown(f"{resource_type} has no search parameter {code[:100]!r}")
        if found := composite(self._registry.specified(resource_type), param):
            if modifier:
                raise _Unsupported("a composite takes no modifier")
            return any_of([together(found, text, self._place, self._now) for text in self._texts(value)])
        if param.kind not in LEAVES:
            raise Unknown(f"search parameters of type {param.kind}, such as {code}, are not supported")
        if modifier and modifier not in modifiers(param):
            raise _Unsupported(f"the modifier :{modifier[:100]} is not supported")
        return self._alternatives(param, modifier, value)

    def _full_text(self, resource_type: str, code: str, modifier: str, value: str) -> Tree:
        if modifier:
            raise _Unsupported(f"{code} takes no modifier")
        tenant, narrative = self._place.tenant_id, FULL_TEXT[code]
        return any_of(
            [WordsMatch(query(tenant, resource_type, unescape(text), narrative)) for text in self._texts(value)]
        )

    def _alternatives(self, param: SearchParam, modifier: str, value: str) -> Tree:
        return question([Asked(param, modifier, text, self._place, self._now) for text in self._texts(value)])

    def _texts(self, value: str) -> list[str]:
        """Return the alternatives. Raises ValueError."""
        texts = split(value, ",")
        self._left -= len(texts)
        if self._left < 0:
            raise ValueError(f"more than {self._limits.max_values} values in one search")
        if "" in texts:
            raise ValueError("a value is missing")
        return texts

    def _refuse(self, issue_code: str, name: str, text: str) -> None:
        self.issues.append(error(issue_code, text, f"http.{name[:100]}"))


def _check_text(name: str, value: str) -> None:
    """Refuse what no resource can hold and no database takes."""
    for text in (name, value):
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError("not Unicode text")
    if not value:
        raise ValueError("a value is missing")


# ---- parameters that steer the result ---------------------------------------------------------------------------

_TOTALS: dict[str, Total] = {"none": "none", "estimate": "estimate", "accurate": "accurate"}


def _whole(value: str) -> None:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise ValueError("a whole number is expected")


def _one_of(*allowed: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        if value not in allowed:
            raise ValueError(f"supported are {', '.join(allowed)}")

    return check


_CONTROLS: dict[str, Callable[[str], None]] = {
    "_count": _whole,
    "_sort": lambda value: None,
    "_total": _one_of(*_TOTALS),
    "_summary": _one_of("true", "text", "data", "count", "false"),
    "_elements": lambda value: None,
    "_cursor": lambda value: None,
}
