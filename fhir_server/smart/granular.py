"""Granular scopes: `patient/Observation.rs?category=laboratory` as a search tree.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html#finer-grained-resource-constraints-using-search-parameters

The parameters are those of a search, read by its own parser, and must all hold. Only what the index of the row itself
answers may stand there: a scope that looked at other resources would change with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from conformance.search_params import Registry
from fhir_server.context import Scope
from fhir_server.errors import Invalid
from fhir_server.limits import Limits
from fhir_server.search.hashing import Hasher
from fhir_server.search.request import parse
from fhir_server.search.tree import And, Everything, Link, Not, Or, Tree, WordsMatch
from fhir_server.smart.rules import Rules

_ANY_BASE = "http://any.example/fhir"
Params = tuple[tuple[str, str], ...]


def tree_of(rules: Rules, tenant_id: int, base: str, resource_type: str, params: Params) -> Tree:
    """Return the rows of a type that the parameters of a scope leave; raise Invalid for what cannot stand there."""
    return _compiled(rules.registry, rules.hasher, tenant_id, base, resource_type, params)


def check(rules: Rules, scopes: Iterable[Scope]) -> None:
    """Raise Invalid for the first scope whose parameters cannot be used: to be asked before it is granted."""
    for scope in scopes:
        if scope.params and scope.type == "*" and not all(name.startswith("_") for name, _ in scope.params):
            raise Invalid(f"{scope.text[:200]}: a scope of every type takes only parameters that every type has")
        if scope.params:
            try:
                tree_of(rules, 0, _ANY_BASE, "Patient" if scope.type == "*" else scope.type, scope.params)
            except Invalid as problem:
                raise Invalid(f"{scope.text[:200]}: {problem.issues[0].diagnostics}") from problem


@lru_cache(maxsize=4096)
def _compiled(
    registry: Registry, hasher: Hasher, tenant_id: int, base: str, resource_type: str, params: Params
) -> Tree:
    asked = parse(
        resource_type, params, tenant_id=tenant_id, base=base, registry=registry, hasher=hasher, limits=Limits()
    )
    # What steers the answer, or asks nothing of the row, is no limit.
    if len(asked.applied) != len(params) or asked.includes or any(name in _STEERING for name, _ in asked.applied):
        raise Invalid("only search parameters that a resource answers by itself can stand in a scope")
    if isinstance(asked.tree, Everything) or not _of_the_row(asked.tree):
        raise Invalid("only search parameters that a resource answers by itself can stand in a scope")
    return asked.tree


_STEERING = frozenset(
    ("_count", "_sort", "_total", "_summary", "_elements", "_cursor", "_include", "_revinclude", "_list", "_type")
)


def _of_the_row(tree: Tree) -> bool:
    """Tell whether a tree asks nothing of other resources, or of the words in one."""
    match tree:
        case And(parts) | Or(parts):
            return all(map(_of_the_row, parts))
        case Not(part):
            return _of_the_row(part)
    return not isinstance(tree, Link | WordsMatch)
