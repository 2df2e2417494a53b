"""Escape sequences mean what chapter 2.7 says, and what it does not say stays as it was sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.delimiters import Delimiters, declared, escape, unescape

ODD = Delimiters("$", "%", "*", "/", "@", "#")


@given(st.text())
def test_what_is_escaped_comes_back(text: str) -> None:
    assert unescape(escape(text)) == text
    assert unescape(escape(text, ODD), ODD) == text


@given(st.text())
def test_escaped_text_holds_no_delimiter(text: str) -> None:
    assert not set(escape(text)) & set("|^~&\r\n")


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f"),
        (r"one\.br\two", "one\ntwo"),
        (r"one\.sp2\two\.sp 1\three", "one\n\ntwo\nthree"),
        (r"a\.sk3\b", "a   b"),
        (r"\.in+4\a\.ti-2\b\.fi\c\.nf\d", "abcd"),
        (r"\H\bold\N\ plain", "bold plain"),
        (r"\X0D0A\next", "\r\nnext"),
        (r"caf\XC3A9\ caf\XE9\ ", "café café "),
        (r"\Zlocal\ \C4A3A\ \M4A3A5B\ ", r"\Zlocal\ \C4A3A\ \M4A3A5B\ "),
        (r"\X0\ \Xzz\ \\ \unfinished", r"\X0\ \Xzz\ \\ \unfinished"),
        (r"C:\dir\file", r"C:\dir\file"),
        ("plain", "plain"),
    ],
)
def test_sequences_are_resolved(sent: str, meant: str) -> None:
    assert unescape(sent) == meant


def test_the_letters_stand_for_the_senders_own_delimiters() -> None:
    assert unescape("/F//S//R//T//E//P/", ODD) == "$%*@/#"


def test_letters_and_digits_are_no_delimiters() -> None:
    assert declared("A", "^~\\&") == Delimiters()
    assert declared("|", "Q~\\&").component == "^"
