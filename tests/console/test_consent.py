"""What a person is asked, and which scopes their answer stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.structures import STORABLE
from fhir_server.console.consent import answered, consent_of, described
from fhir_server.console.words import CATEGORIES, KINDS, categories, title
from fhir_server.smart.granting import app_scope
from fhir_server.smart.scopes import parse_scopes

LABORATORY = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory"
ASKED = (
    "launch/patient openid fhirUser offline_access patient/Condition.rs patient/Observation.cruds patient/Patient.rs"
)


def everything(scope: str) -> list[tuple[str, str]]:
    """Return the form as it stands when it is shown: all that is asked for is ticked."""
    consent = consent_of(scope)
    seen = [(f"see-{part.key}", "all") for part in consent.parts if part.sees]
    return [*seen, *((f"change-{part.key}", "yes") for part in consent.parts if part.changes), ("refresh", "yes")]


def test_each_scope_is_asked_about_with_what_may_be_seen_and_done_apart() -> None:
    condition, observation, patient = consent_of(ASKED).parts
    assert (condition.title, condition.sees, condition.changes) == (
        "Illnesses and diagnoses", "patient/Condition.rs", "",
    )  # fmt: skip
    assert (observation.sees, observation.changes, observation.verbs) == (
        "patient/Observation.rs", "patient/Observation.cud", "add, change and delete",
    )  # fmt: skip
    assert patient.kinds == ()
    assert (consent_of(ASKED).identity, consent_of(ASKED).refresh) == (True, "offline_access")
    assert (consent_of("patient/Patient.rs").identity, consent_of("patient/Patient.rs").refresh) == (False, "")


def test_what_is_ticked_is_agreed_to_and_nothing_else() -> None:
    consent = consent_of(ASKED)
    assert answered(consent, []) == ""
    assert answered(consent, [("see-0", "all")]) == "patient/Condition.rs"
    assert answered(consent, [("change-1", "yes"), ("refresh", "yes")]) == "patient/Observation.cud offline_access"
    assert answered(consent, [("see-0", "none"), ("kind-0", "0"), ("see-9", "all"), ("scope", "user/*.rs")]) == ""
    whole = set(answered(consent, everything(ASKED)).split())
    assert whole == {
        "patient/Condition.rs", "patient/Observation.rs", "patient/Observation.cud", "patient/Patient.rs",
        "offline_access",
    }  # fmt: skip


def test_the_kinds_are_those_of_us_core() -> None:
    codes = {name: {value.rpartition("|")[2] for value in KINDS[name]} for name in KINDS}
    assert codes == {
        "Condition": {"encounter-diagnosis", "problem-list-item", "health-concern"},
        "Observation": {"procedure", "laboratory", "social-history", "sdoh", "survey", "vital-signs"},
    }


def test_of_the_whole_record_single_kinds_of_data_can_be_kept_back() -> None:
    (part,) = consent_of("patient/*.cruds").parts
    kept = [number for number, kind in enumerate(part.kinds) if kind.words != "Illnesses and diagnoses"]
    agreed = answered(consent_of("patient/*.cruds"), [("see-0", "some"), *(("kind-0", str(n)) for n in kept)])
    types = {scope.type for scope in parse_scopes(agreed)}
    assert types == set(STORABLE) - set(CATEGORIES["Illnesses and diagnoses"])
    assert {scope.interactions for scope in parse_scopes(agreed)} == {"rs"}
    assert answered(consent_of("patient/*.cruds"), everything("patient/*.cruds")) == "patient/*.rs patient/*.cud"


def test_every_type_has_a_name_for_people_and_stands_in_one_category() -> None:
    placed = [name for types in categories().values() for name in types]
    assert sorted(placed) == sorted(STORABLE)
    assert title("ImmunizationEvaluation") == "Immunization evaluation"
    assert all(title(name) for name in STORABLE)


def test_a_grant_is_described_line_by_line() -> None:
    assert described("openid launch patient/Patient.rs patient/Coverage.cud") == [
        "Name, address and birth date (see)",
        "Insurance (add, change and delete)",
    ]


SCOPES = st.lists(
    st.builds(
        "{}/{}.{}".format,
        st.sampled_from(["patient", "user"]),
        st.sampled_from(["*", "Condition", "Observation", "Patient", "Task"]),
        st.sampled_from(["r", "rs", "c", "cud", "cruds"]),
    ),
    min_size=1,
    max_size=4,
).map(" ".join)
FIELDS = st.lists(
    st.tuples(
        st.builds("{}-{}".format, st.sampled_from(["see", "kind", "change"]), st.integers(0, 4)),
        st.sampled_from(["all", "some", "none", "yes", "0", "1", "5"]),
    ),
    max_size=12,
)


@given(SCOPES, FIELDS)
def test_no_form_agrees_to_more_than_was_asked(asked: str, fields: list[tuple[str, str]]) -> None:
    most = app_scope(asked, asked)
    for scope in parse_scopes(answered(consent_of(most), fields)):
        letters = {
            letter for one in parse_scopes(most)
            if one.context == scope.context and one.type in ("*", scope.type) for letter in one.interactions
        }  # fmt: skip
        assert set(scope.interactions) <= letters


@pytest.mark.parametrize("scope", ["openid", "launch openid fhirUser online_access"])
def test_an_app_that_asks_for_no_data_has_no_parts(scope: str) -> None:
    assert consent_of(scope).parts == ()


def test_some_of_a_type_is_granted_by_its_categories_and_not_by_the_type() -> None:
    consent = consent_of("patient/Observation.rs")
    words = [kind.words for kind in consent.parts[0].kinds]
    fields = [("see-0", "some"), ("kind-0", str(words.index("laboratory results"))), ("kind-0", "77")]
    assert answered(consent, fields) == f"patient/Observation.rs?category={LABORATORY}"
    assert answered(consent, [("see-0", "some")]) == ""
    assert all(parse_scopes(text) for kind in consent.parts[0].kinds for text in kind.scopes)


def test_an_app_that_asks_for_a_part_of_a_type_is_asked_about_in_words() -> None:
    (known,) = consent_of(f"patient/Observation.rs?category={LABORATORY}").parts
    assert (known.only, known.kinds) == ("laboratory results", ())
    (other,) = consent_of("user/DocumentReference.rs?type=http://loinc.org|34133-9").parts
    assert (other.context, other.only) == ("user", "type http://loinc.org|34133-9")


def test_kinds_that_are_agreed_to_are_granted_as_they_are_and_not_in_pairs() -> None:
    consent = consent_of("patient/Condition.rs patient/Observation.rs")
    agreed = answered(consent, [("see-1", "some"), ("kind-1", "0"), ("kind-1", "1"), ("change-0", "yes")])
    assert len(agreed.split()) == 2
    assert set(app_scope(agreed, agreed).split()) == set(agreed.split())
    whole = app_scope("patient/Observation.rs patient/Observation.r?status=final", "patient/*.cruds")
    assert whole == "patient/Observation.rs"
