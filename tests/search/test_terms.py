"""Alternatives, parts, escapes and prefixes. http://hl7.org/fhir/R4/search.html#escaping"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search.terms import prefixed, split, unescape

TEXT = st.text(st.sampled_from("ab,$|\\ é"))


def escape(text: str) -> str:
    """Return the text as a client writes it."""
    for sign in "\\,$|":
        text = text.replace(sign, f"\\{sign}")
    return text


@given(TEXT)
def test_what_is_escaped_comes_back(text: str) -> None:
    assert unescape(escape(text)) == text


@given(st.lists(TEXT, min_size=1), st.sampled_from(",$|"))
def test_escaped_parts_joined_by_a_sign_are_split_at_that_sign_alone(parts: list[str], sign: str) -> None:
    assert [unescape(part) for part in split(sign.join(map(escape, parts)), sign)] == parts


@given(TEXT, st.sampled_from(",$|"))
def test_splitting_loses_nothing(text: str, sign: str) -> None:
    assert sign.join(split(text, sign)) == text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        (r"a\,b", [r"a\,b"]),
        (r"a\\,b", [r"a\\", "b"]),
        ("", [""]),
        (",", ["", ""]),
        ("a\\", ["a\\"]),
    ],
)
def test_a_comma_parts_unless_a_backslash_stands_before_it(text: str, parts: list[str]) -> None:
    assert split(text, ",") == parts


@pytest.mark.parametrize(("text", "plain"), [(r"a\nb", r"a\nb"), ("a\\", "a\\"), (r"\\\,", r"\,"), (r"\|\$", "|$")])
def test_a_backslash_before_any_other_character_is_itself(text: str, plain: str) -> None:
    assert unescape(text) == plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024", ("eq", "2024")),
        ("ge2024", ("ge", "2024")),
        ("ap5", ("ap", "5")),
        ("eq", ("eq", "")),
        ("xx5", ("eq", "xx5")),
    ],
)
def test_a_prefix_of_two_letters_is_taken_off(text: str, expected: tuple[str, str]) -> None:
    assert prefixed(text) == expected
