"""Sessions as rules: where one may go after signing in, which cookies are for TLS alone, what proves a form."""

from __future__ import annotations

from typing import cast
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fhir_server.smart.sessions import HOME, Sessions, SignInNeeded, origin_of, own_path, sign_in_address
from fhir_server.store.database import Database

OURS = "https://clinic.example"


def sessions(base_url: str) -> Sessions:
    """Return sessions of which no test here asks the database."""
    return Sessions(cast(Database, None), cast("object", None), b"k" * 32, base_url)  # type: ignore[arg-type]


@given(st.text(max_size=60) | st.text(alphabet="/\\.:@?#%eE \t\n0a", max_size=12))
@example("//evil.example")
@example("/\\evil.example")
@example("/\t/evil.example")
@example("https:evil.example")
@example("/%2f/evil.example")
def test_no_text_leads_to_another_host(text: str) -> None:
    went = urlsplit(urljoin(OURS + "/login", own_path(text)))
    assert (went.scheme, went.netloc) == ("https", "clinic.example")
    assert own_path(text).startswith("/")
    assert not own_path(text).startswith(("//", "/\\"))


@pytest.mark.parametrize("path", ["/account", "/demo/oauth/authorize?a=b&scope=openid%20fhirUser", "/console?x#y"])
def test_an_own_path_is_gone_to_as_it_was_given(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path", [None, "", "/", "/login", "/login?next=/account", "/logout", "/login/", "/" + "a" * 9000]
)
def test_what_would_lead_in_a_circle_leads_home(path: str | None) -> None:
    assert own_path(path) == HOME


def test_who_is_sent_to_sign_in_comes_back() -> None:
    assert sign_in_address(SignInNeeded("/a?b=c&d=e")) == "/login?next=%2Fa%3Fb%3Dc%26d%3De"
    assert sign_in_address(SignInNeeded("//evil.example", again=True)) == "/login?next=%2Faccount&again=1"


@pytest.mark.parametrize(
    ("base_url", "secure"),
    [
        ("https://clinic.example", True),
        ("http://clinic.example", True),
        ("https://localhost", True),
        ("http://localhost:8080", False),
        ("http://127.0.0.1:8080", False),
        ("http://[::1]:8080", False),
        ("http://10.0.0.1", True),
    ],
)
def test_only_a_server_for_this_machine_alone_sends_cookies_without_tls(base_url: str, secure: bool) -> None:
    assert sessions(base_url).secure is secure
    assert sessions(base_url).cookie.startswith("__Host-") is secure


def test_a_proof_is_good_for_its_cookie_and_server_alone() -> None:
    ours = sessions(OURS)
    proof = ours.proof(None, "a cookie")
    assert ours.is_ours(proof, None, "a cookie")
    assert not ours.is_ours(proof, None, "another cookie")
    assert not ours.is_ours(ours.proof(None, ""), None, "")
    assert not Sessions(ours.db, ours.rules, b"x" * 32, OURS).is_ours(proof, None, "a cookie")
    assert not ours.is_ours("é", None, "a cookie")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://clinic.example:443/x", "https://clinic.example"),
        ("http://clinic.example:80", "http://clinic.example"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://CLINIC.example", "https://clinic.example"),
    ],
)
def test_an_origin_is_spelled_as_browsers_do(url: str, origin: str) -> None:
    assert origin_of(url) == origin
