"""Chains and reverse chains become links of the tree. http://hl7.org/fhir/R4/search.html#chaining"""

from __future__ import annotations

import pytest

from fhir_server.errors import Invalid
from fhir_server.search.tree import AllKeys, Chained, IdIn, Reverse
from tests.search.world import TENANT, hasher, search


def salt(resource_type: str, code: str) -> int:
    """Return the salt of a parameter."""
    return hasher().salt(TENANT, resource_type, code)


def test_a_chain_follows_a_reference_to_the_type_it_names() -> None:
    tree = search("Observation", ("subject:Patient._id", "a")).tree
    assert tree == Chained(salt("Observation", "subject"), (("Patient", IdIn(("a",))),))


def test_a_chain_without_a_type_follows_to_every_type_that_has_the_parameter() -> None:
    tree = search("Observation", ("subject.identifier", "a")).tree
    assert isinstance(tree, Chained)
    assert sorted(kind for kind, _ in tree.targets) == ["Device", "Group", "Location", "Patient"]
    narrower = search("Observation", ("subject.birthdate", "2000")).tree
    assert isinstance(narrower, Chained)
    assert [kind for kind, _ in narrower.targets] == ["Patient"]


def test_chains_go_to_any_depth_and_hold_reverse_chains() -> None:
    tree = search("Observation", ("patient.organization.partof._has:Location:organization:_id", "w")).tree
    kinds = []
    while isinstance(tree, Chained):
        ((kind, tree),) = tree.targets
        kinds.append(kind)
    assert kinds == ["Patient", "Organization", "Organization"]
    assert tree == Reverse(salt("Location", "organization"), "Location", "Organization", IdIn(("w",)))


def test_reverse_chains_nest_and_hold_chains() -> None:
    outer = search("Patient", ("_has:Encounter:patient:_has:Observation:encounter:code", "c")).tree
    assert isinstance(outer, Reverse)
    assert (outer.type, outer.target) == ("Encounter", "Patient")
    inner = outer.tree
    assert isinstance(inner, Reverse)
    assert (inner.type, inner.target, type(inner.tree)) == ("Observation", "Encounter", AllKeys)
    chained = search("Patient", ("_has:Observation:patient:performer:Organization._id", "o")).tree
    assert isinstance(chained, Reverse)
    assert isinstance(chained.tree, Chained)


@pytest.mark.parametrize(
    "name",
    ["organization.colour", "colour.name", "_has:Observation:colour:code", "_has:Observation:patient:colour"],
)
def test_an_unknown_link_is_left_out_by_a_lenient_search_and_refused_otherwise(name: str) -> None:
    request = search("Patient", (name, "x"), ("gender", "male"), lenient=True)
    assert request.ignored == [name]
    assert request.applied == [("gender", "male")]
    with pytest.raises(Invalid, match="has no search parameter"):
        search("Patient", (name, "x"))


def test_a_reference_to_anything_is_followed_to_a_named_type_alone() -> None:
    with pytest.raises(Invalid, match="name one"):
        search("Provenance", ("target.identifier", "x"))
    tree = search("Provenance", ("target:Patient.identifier", "x")).tree
    assert isinstance(tree, Chained)
    assert [kind for kind, _ in tree.targets] == ["Patient"]


def test_a_chain_without_end_is_refused() -> None:
    with pytest.raises(Invalid, match="more than 64 links"):
        search("Patient", (".".join(["link"] * 70 + ["name"]), "x"))
