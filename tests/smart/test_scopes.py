"""Scopes as SMART App Launch 2.2 writes them."""

from __future__ import annotations

import pytest

from fhir_server.context import Scope
from fhir_server.errors import Invalid
from fhir_server.smart.scopes import covers, parse_scope, parse_scopes, require_scopes


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("patient/Observation.rs", "rs"),
        ("user/*.cruds", "cruds"),
        ("system/Patient.read", "rs"),
        ("patient/Patient.write", "cud"),
        ("user/Patient.*", "cruds"),
    ],
)
def test_v1_and_v2_scopes_are_read(text: str, letters: str) -> None:
    scope = parse_scope(text)
    assert scope is not None
    assert scope.interactions == letters


@pytest.mark.parametrize(
    "text",
    [
        "",
        "openid",
        "patient/Observation.sr",
        "patient/Observation.",
        "patient/Nonsense.rs",
        "admin/*.rs",
        "patient/*.rsx",
        "patient/Patient.rs\n",
        "Patient/Patient.rs",
    ],
)
def test_anything_else_gives_nothing(text: str) -> None:
    assert parse_scope(text) is None


def test_other_kinds_of_scope_are_left_out_or_named_where_they_may_not_stand() -> None:
    assert parse_scopes("openid launch patient/Patient.r") == (Scope("patient", "Patient", "r"),)
    with pytest.raises(Invalid, match="'openid'"):
        require_scopes("patient/Patient.r openid")


def test_a_scope_covers_its_type_and_letters_alone() -> None:
    scopes = parse_scopes("patient/Observation.rs system/Patient.c")
    assert covers(scopes, "Observation", "s")
    assert not covers(scopes, "Observation", "c")
    assert not covers(scopes, "Patient", "r")
    assert covers(parse_scopes("user/*.r"), "Basic", "r")
