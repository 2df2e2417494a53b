"""Strings, found whatever the case and the accents. http://hl7.org/fhir/R4/search.html#string"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search.text import CUT, MAX_LENGTH, after, entries, fold
from tests.search.world import finds

UNICODE = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Müller", "muller"),
        ("MÜLLER", "muller"),
        ("Mu\u0308ller", "muller"),
        ("Łukasz Ørsted", "lukasz orsted"),
        ("Straße", "strasse"),
        ("Ægir", "aegir"),
        ("İstanbul", "istanbul"),
        ("  two \t spaces\u00a0here ", "two spaces here"),
        ("O'Brien-Smith", "o'brien-smith"),
        ("ﬁ ①", "fi 1"),
        ("Νίκος", "νικοσ"),
        ("山田", "山田"),
        ("\u0301", ""),
    ],
)
def test_case_accents_and_surplus_spaces_are_folded(text: str, folded: str) -> None:
    assert fold(text) == folded


@given(UNICODE)
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(UNICODE)
def test_a_text_without_case_folds_like_the_text_itself(text: str) -> None:
    assert fold(text.casefold()) == fold(text)


@given(st.text(st.sampled_from("abcxyzäöüéèçñøßłαβγжщ ")))
def test_upper_case_folds_like_lower_case(text: str) -> None:
    assert fold(text.upper()) == fold(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), UNICODE)
def test_the_end_of_a_prefix_bounds_exactly_what_starts_with_it(prefix: str, text: str) -> None:
    end = after(prefix)
    for candidate in (prefix + text, text):
        inside = prefix <= candidate and (end is None or candidate < end)
        assert inside == candidate.startswith(prefix)


def test_after_the_last_character_of_unicode_the_one_before_counts_up() -> None:
    assert after("a\U0010ffff") == "b"
    assert after("\U0010ffff") is None
    assert after("\ud7ff") == "\ue000"


def test_a_long_text_is_indexed_by_its_start() -> None:
    (entry,) = entries(["x" * 10_000])
    folded, _, whole = entry.partition(CUT)
    assert len(folded) == MAX_LENGTH
    assert len(whole) == 32
    assert len(("\U0001f600" * MAX_LENGTH).encode()) < 2704


def test_what_folds_to_nothing_is_not_indexed() -> None:
    assert entries([" ", "\u0301"]) == []


@pytest.mark.parametrize(
    ("param", "value", "found"),
    [
        ("name", "muster", True),
        ("name", "MUS", True),
        ("name", "üsch", False),
        ("name", "Anna", True),
        ("name", "dr", True),
        ("name", "Anna Muster", False),
        ("name", "Anna M. Muster", True),
        ("family", "anna", False),
        ("given", "ANNA", True),
        ("given", "bert,anna", True),
        ("address", "zürich", True),
        ("address", "Zurich", True),
        ("address", "8001", True),
        ("address", "Hauptstrasse", True),
        ("address-city", "zur", True),
        ("address-city", "8001", False),
        ("address-use", "home", True),
    ],
)
def test_a_string_is_found_by_its_start_in_every_part_of_a_name_or_address(param: str, value: str, found: bool) -> None:
    patient = {
        "resourceType": "Patient",
        "name": [{"family": "Muster", "given": ["Anna"], "prefix": ["Dr."], "text": "Anna M. Muster"}],
        "address": [{"use": "home", "line": ["Hauptstraße 1"], "city": "Zürich", "postalCode": "8001"}],
    }
    assert finds(patient, (param, value)) is found
