"""What is granted of what is asked: no more than was asked, and no more than is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.smart.authorize import agreed, needs_patient
from fhir_server.smart.granting import app_scope, backend_scope, require_usable, shared
from fhir_server.smart.redeeming import narrowed
from fhir_server.smart.refusal import Refusal
from fhir_server.smart.rules import Rules
from fhir_server.smart.scopes import parse_scopes
from tests.search.world import hasher, registry

LAB, VITAL = "category=laboratory", "category=vital-signs"


@pytest.mark.parametrize(
    ("asked", "allowed", "granted"),
    [
        ("patient/*.rs", "patient/*.cruds", "patient/*.rs"),
        ("patient/*.read", "patient/Patient.rs patient/Coverage.r", "patient/Patient.rs patient/Coverage.r"),
        ("patient/Patient.cruds", "patient/*.rs", "patient/Patient.rs"),
        ("patient/Patient.rs", "user/Patient.rs", ""),
        ("patient/Patient.c", "patient/Patient.rs", ""),
        ("openid launch nonsense", "openid launch", "openid launch"),
        ("openid", "patient/*.rs", ""),
        (f"patient/Observation.rs?{LAB}", "patient/*.rs", f"patient/Observation.rs?{LAB}"),
        ("patient/Observation.rs", f"patient/Observation.rs?{LAB}", f"patient/Observation.rs?{LAB}"),
        ("patient/*.rs", f"patient/Observation.rs?{LAB}", f"patient/Observation.rs?{LAB}"),
        (f"patient/Observation.rs?{LAB}", f"patient/Observation.rs?{VITAL}", f"patient/Observation.rs?{LAB}&{VITAL}"),
        (
            f"patient/Observation.rs?{LAB} patient/Observation.rs?{VITAL}", "patient/Observation.rs",
            f"patient/Observation.rs?{LAB} patient/Observation.rs?{VITAL}",
        ),
    ],
)  # fmt: skip
def test_what_both_cover_is_left(asked: str, allowed: str, granted: str) -> None:
    assert shared(asked, allowed) == granted


SCOPES = st.lists(
    st.builds(
        "{}/{}.{}{}".format,
        st.sampled_from(("patient", "user")),
        st.sampled_from(("*", "Patient", "Observation")),
        st.sampled_from(("r", "rs", "cud", "cruds", "read", "*")),
        st.just(""),
    ),
    max_size=4,
).map(" ".join)


def pairs(scope: str) -> set[tuple[str, str, str]]:
    """Return context, type and letter of all that a list allows, * standing for the two types here."""
    types = {"*": ("Patient", "Observation", "other")}
    return {
        (one.context, name, letter)
        for one in parse_scopes(scope)
        for name in types.get(one.type, (one.type,))
        for letter in one.interactions
    }


@given(SCOPES, SCOPES)
def test_what_is_granted_is_exactly_what_both_allow(one: str, other: str) -> None:
    assert pairs(shared(one, other)) == pairs(one) & pairs(other)
    assert pairs(shared(one, one)) == pairs(one)


@given(SCOPES, SCOPES)
def test_a_person_never_agrees_to_more_than_was_asked(chosen: str, asked: str) -> None:
    assert pairs(agreed(chosen, asked)) <= pairs(asked)


def test_a_narrower_kind_instead_of_the_whole_type_leaves_no_whole_type() -> None:
    assert agreed(f"patient/Observation.rs?{LAB}", "launch/patient patient/Observation.rs patient/Condition.rs") == (
        f"launch/patient patient/Observation.rs?{LAB}"
    )


def test_refresh_tokens_are_agreed_to_and_names_need_no_agreement() -> None:
    asked = "openid launch/patient offline_access patient/*.rs"
    assert agreed("patient/*.rs", asked) == "openid launch/patient patient/*.rs"
    assert agreed("patient/*.rs offline_access", asked) == "openid launch/patient offline_access patient/*.rs"
    assert agreed("", "launch/patient patient/*.rs") == ""


@pytest.mark.parametrize("asked", ["", "system/*.rs", "introspection", "openid"])
def test_an_app_is_told_where_nothing_is_left(asked: str) -> None:
    with pytest.raises(Refusal, match="invalid_scope"):
        app_scope(asked, "patient/*.rs system/*.rs introspection")


def test_a_service_asks_for_system_scopes_alone() -> None:
    assert backend_scope("system/*.rs introspection", "system/Patient.rs introspection") == (
        "introspection system/Patient.rs"
    )
    with pytest.raises(Refusal, match="invalid_scope"):
        backend_scope("system/*.rs user/*.rs", "system/*.rs user/*.rs")


@pytest.mark.parametrize("scope", ["patient/Observation.rs?nonsense=1", "patient/*.rs?category=x"])
def test_a_scope_that_narrows_by_what_is_no_parameter_is_refused(scope: str) -> None:
    rules = Rules(hasher(), registry())
    assert require_usable(rules, f"patient/Observation.rs?{LAB}")
    with pytest.raises(Refusal, match="invalid_scope"):
        require_usable(rules, scope)


@pytest.mark.parametrize(
    ("scope", "needs"),
    [
        ("patient/*.rs", True), ("launch/patient openid", True), ("launch/encounter", True), ("user/*.rs", False),
        ("launch openid user/*.rs", False),
    ],
)  # fmt: skip
def test_scopes_of_a_patient_need_one(scope: str, needs: bool) -> None:
    assert needs_patient(scope) is needs


def test_a_refreshed_granular_scope_may_be_asked_for_by_its_own_name() -> None:
    granted = f"offline_access patient/Observation.rs?{LAB}"
    assert narrowed(None, granted) == granted
    assert narrowed(f"patient/Observation.r?{LAB}", granted) == f"patient/Observation.r?{LAB}"
    for wider in ("patient/Observation.rs", f"patient/Observation.rs?{VITAL}", "patient/Condition.rs"):
        with pytest.raises(Refusal, match="invalid_scope"):
            narrowed(wider, granted)
