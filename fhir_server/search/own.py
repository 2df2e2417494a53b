"""The parameters of one tenant: those of R4 and its own, as a search may use them.

An own parameter is used only when every resource is indexed by it: before, a search would miss what is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from conformance.search_params import Registry, SearchParam
from fhir_server.errors import Conflict
from fhir_server.search.definition import Definition, Wrong, compiled
from fhir_server.search.hashing import Hasher
from fhir_server.search.kinds import Indexer


class Own(msgspec.Struct, frozen=True):
    """A parameter that a SearchParameter resource defines; `id` is the resource's, `ready` that it can be searched."""

    id: str
    generation: int
    definition: Definition
    ready: bool


class Indexing(Conflict):
    """A search uses a parameter by which not every resource is indexed yet."""

    def __init__(self, own: Own) -> None:
        self.own = own
        super().__init__(f"{own.definition.code} is being indexed", f"http.{own.definition.code}")


class Known(msgspec.Struct, frozen=True):
    """What a process knows of a tenant's parameters, as of a generation of them.

    `registry` has R4's and all of its own, by which resources are indexed; `owners` are its own by type and code;
    `broken` are ids of definitions that this server cannot compile.
    """

    generation: int
    base: Registry
    registry: Registry
    indexer: Indexer
    own: Sequence[Own] = ()
    owners: Mapping[tuple[str, str], Own] = {}
    broken: Sequence[str] = ()

    def watched(self, veiled: Mapping[str, frozenset[str]]) -> Watched:
        """Return the registry for one request, which may not search by what is `veiled`."""
        return Watched(self, veiled)


def known(base: Registry, indexer: Indexer, hasher: Hasher, generation: int, own: Sequence[Own]) -> Known:
    """Return a tenant's parameters; `base` and `indexer` are R4's, and serve a tenant that has none of its own."""
    registry, broken = base, []
    owners: dict[tuple[str, str], Own] = {}
    for one in sorted(own, key=lambda one: one.definition.type == "composite"):
        try:
            params = compiled(one.definition, registry, base)
        except Wrong:
            broken.append(one.id)
            continue
        registry = registry.extended(params)
        owners.update({(param.base, param.code): one for param in params})
    if owners:
        indexer = Indexer(registry, hasher, most_words=indexer.most_words)
    return Known(generation, base, registry, indexer, own, owners, broken)


class Watched(Registry):
    """A tenant's registry for one request: it tells whether the answer depends on more than R4's own parameters."""

    def __init__(self, known: Known, veiled: Mapping[str, frozenset[str]]) -> None:
        self._known = known
        self.veiled = veiled
        self.touched = False
        self._first = known.base._first
        self.without_expression = known.base.without_expression

    def for_type(self, resource_type: str) -> Mapping[str, SearchParam]:
        """Return the parameters of a type. Looking one up raises Indexing where it cannot be searched yet."""
        return _Params(self, self._known, resource_type)

    def references(self, resource_type: str) -> Sequence[SearchParam]:
        """Return the references of a type that can be searched; of a type of which something is veiled, R4's alone."""
        self.touched = True
        found, owners = self._known.base.references(resource_type), self._known.owners
        if not owners or resource_type in self.veiled:
            return found
        base = self._known.base.for_type(resource_type)
        own = (p for p in self._known.registry.references(resource_type) if p.code not in base)
        return (*found, *(p for p in own if owners[resource_type, p.code].ready))

    def extended(self, more: object) -> Registry:
        """Raise TypeError: what is seen by one request has nothing added."""
        raise TypeError("a watched registry cannot be extended")


class _Params(Mapping[str, SearchParam]):
    __slots__ = ("_base", "_known", "_type", "_watched")

    def __init__(self, watched: Watched, known: Known, resource_type: str) -> None:
        self._watched, self._known, self._type = watched, known, resource_type
        self._base = known.base.for_type(resource_type)

    def __getitem__(self, code: str) -> SearchParam:
        found = self._base.get(code)
        if found is None:
            # Found or not, another generation may have it otherwise.
            self._watched.touched = True
            if self._type in self._watched.veiled:
                # Whoever defined it did not say whether it tells of what is masked.
                raise KeyError(code)
            found = self._known.registry.for_type(self._type)[code]
            if not (own := self._known.owners[self._type, code]).ready:
                raise Indexing(own)
        return found

    def __iter__(self) -> Iterator[str]:
        owners = self._known.owners
        for code in self._known.registry.for_type(self._type):
            if code in self._base or owners[self._type, code].ready:
                yield code

    def __len__(self) -> int:
        return sum(1 for _ in self)
