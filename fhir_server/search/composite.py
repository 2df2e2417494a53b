"""Composite parameters whose values stand in the resource itself. http://hl7.org/fhir/R4/search.html#composite

Where each component is an element that a resource has once, such as Observation.code and Observation.value[x], values
of one element and values of one resource are the same thing: the components' own entries answer. Composites of elements
that repeat are not searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from conformance.search_params import SearchParam
from fhir_server.search.match import LEAVES, Asked, leaf
from fhir_server.search.reference import Place
from fhir_server.search.terms import split
from fhir_server.search.tree import Tree, all_of


def components(params: Mapping[str, SearchParam], param: SearchParam) -> tuple[SearchParam, ...]:
    """Return the parameters, among those of the type, that answer for a composite's components; none if they cannot."""
    if param.kind != "composite" or any(branch.path for branch in param.branches):
        return ()
    by_url = {one.url: one for one in params.values()}
    found = [by_url.get(component.definition) for component in param.components]
    usable = tuple(one for one in found if one and one.single and one.kind in LEAVES)
    return usable if len(usable) == len(found) else ()


def together(parts: tuple[SearchParam, ...], text: str, place: Place, now: datetime | None) -> Tree:
    """Return the tree of one value, such as `code$value`. Raises ValueError."""
    texts = split(text, "$")
    if len(texts) != len(parts) or "" in texts:
        raise ValueError(f"{'$'.join(part.code for part in parts)} is expected")
    return all_of([leaf(Asked(part, "", value, place, now)) for part, value in zip(parts, texts, strict=True)])
