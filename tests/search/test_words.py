"""Words of resources and questions for them. http://hl7.org/fhir/R4/search.html#content"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.structures import decode
from fhir_server.search.words import query, vector, words
from tests.search.world import index

DIV = '<div xmlns="http://www.w3.org/1999/xhtml">{}</div>'
PREFIX = "7.67."
NARRATIVE = "7.67~"


def said(most: int = 100, **members: Any) -> dict[str, str]:
    """Return the places of a Patient's words, by word."""
    resource = decode("Patient", msgspec.json.encode({"resourceType": "Patient", **members}))
    found = (entry.split(":") for entry in vector(7, "Patient", resource, most).split())
    return {word.removeprefix(PREFIX): places for word, places in found}


def narrative(text: str) -> dict[str, str]:
    """Return the narrative with this content."""
    return {"status": "generated", "div": DIV.format(text)}


def test_words_are_folded_as_strings_are() -> None:
    assert words("Frühjahr, ÅNGSTRÖM d'Ævar 3.5") == ["fruhjahr", "angstrom", "d", "aevar", "3", "5"]


def test_a_script_without_spaces_gives_a_word_for_each_character() -> None:
    assert words("日本 Tokyo東京") == ["日", "本", "tokyo", "東", "京"]


def test_the_narratives_words_are_marked() -> None:
    found = said(text=narrative("An<b>n</b>a &amp; Bob<br/>Cara"), name=[{"text": "Anna Doe"}])
    ours = {f"{NARRATIVE}anna": "1", f"{NARRATIVE}bob": "2", f"{NARRATIVE}cara": "3"}
    assert found == {**ours, "anna": "1", "doe": "2"}


def test_no_phrase_reaches_from_one_string_into_the_next() -> None:
    assert said(name=[{"family": "Doe", "given": ["Ann", "Lee"]}]) == {"doe": "1", "ann": "3", "lee": "4"}


def test_codes_addresses_dates_and_ids_are_no_words() -> None:
    found = said(
        id="the-id",
        language="de",
        gender="male",
        birthDate="1980-01-01",
        identifier=[
            {"system": "http://a.example", "value": "MRN 7"},
            {"value": "0f1e2d3c-0000-4000-8000-0123456789ab"},
        ],
        maritalStatus={"coding": [{"system": "urn:s", "code": "secret", "display": "Widowed"}]},
        generalPractitioner=[{"reference": "Practitioner/x", "display": "Dr. No"}],
    )
    assert set(found) == {"mrn", "7", "widowed", "dr", "no"}


def test_quotation_marks_and_line_ends_part_words() -> None:
    assert set(said(name=[{"text": 'a"b\\c\nd'}])) == {"a", "b", "c", "d"}


def test_there_are_no_more_words_than_the_limit() -> None:
    assert len(said(most=3, name=[{"text": "a b c d e"}])) == 3
    assert said(most=0, name=[{"text": "a"}]) == {}


def test_a_resource_without_words_has_no_entry() -> None:
    assert index({"resourceType": "Patient", "active": True}).words == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bone", "'7.67.bone'"),
        ("Bone marrow", "('7.67.bone' & '7.67.marrow')"),
        ("(bone OR liver) and metastases", "(('7.67.bone' | '7.67.liver') & '7.67.metastases')"),
        ('"bone marrow" -liver', "(('7.67.bone' <-> '7.67.marrow') & !'7.67.liver')"),
        ("bone not (liver or 'lung')", "('7.67.bone' & !('7.67.liver' | '7.67.lung'))"),
        ("x-ray", "('7.67.x' <-> '7.67.ray')"),
        ("meta*", "'7.67.meta':*"),
        ('"and"', "'7.67.and'"),
    ],
)
def test_questions_become_those_of_postgresql(text: str, expected: str) -> None:
    assert query(7, "Patient", text, True) == expected.replace(PREFIX, NARRATIVE)


def test_the_whole_is_the_narrative_and_the_rest() -> None:
    assert (
        query(7, "Patient", "a b-c*", False)
        == "(('7.67.a' | '7.67~a') & ('7.67.b' <-> '7.67.c':* | '7.67~b' <-> '7.67~c':*))"
    )


@pytest.mark.parametrize(
    "text", ["-a", "a or -b", "(a", "a)", '"a', "!!", "and", "a and", "()", "not a", "(" * 30, "a " * 101]
)
def test_what_cannot_be_asked_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        query(7, "Patient", text, False)


@given(st.text(st.sampled_from("ab ()\"-*|&!:'\\<> é日andor"), max_size=30))
def test_whatever_is_asked_gives_a_question_or_a_reason(text: str) -> None:
    try:
        asked = query(7, "Patient", text, False)
    except ValueError:
        return
    assert asked.count("'") % 2 == 0
    assert asked.count("(") == asked.count(")")
