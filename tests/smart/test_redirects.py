"""Redirect URIs: what may be registered, and that nothing else is ever taken for it."""

from __future__ import annotations

import pytest

from fhir_server.errors import Invalid
from fhir_server.smart.redirects import is_registered, origin_of, require_origin, require_redirect_uri, with_query

APP = "https://app.example.org/after?x=1"


@pytest.mark.parametrize(
    "uri",
    [APP, "https://app.example.org:8443/", "http://localhost:3000/cb", "http://127.0.0.1/cb", "http://[::1]:9/cb"],
)
def test_https_addresses_and_those_of_the_own_machine_may_be_registered(uri: str) -> None:
    assert require_redirect_uri(uri, native=False) == uri


def test_a_native_app_may_register_a_scheme_of_its_own() -> None:
    assert require_redirect_uri("org.example.app:/after", native=True) == "org.example.app:/after"
    with pytest.raises(Invalid):
        require_redirect_uri("org.example.app:/after", native=False)


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example.org/cb", "https://app.example.org/#fragment", "https://app.example.org/#", "https:///cb",
        "https://user@app.example.org/cb", "http://localhost:80@evil.example/cb", "javascript:alert(1)", "//evil/cb",
        "data:text/html,x", "https://*.example.org/cb", "https://app.example.org\\@evil.example/", "", "app:/cb",
        "https://app.example.org/a b", "https://app.example.org/\r\nSet-Cookie:x", "https://app.example.org:x/",
        "https://app.example.org:0/", "https://app.example.org/" + "a" * 2000, "file:///etc/passwd",
    ],
)  # fmt: skip
def test_other_addresses_may_not_be_registered(uri: str) -> None:
    with pytest.raises(Invalid):
        require_redirect_uri(uri, native=True)


@pytest.mark.parametrize(
    "given",
    [
        APP + "2", APP[:-1], "https://app.example.org/after", "https://app.example.org.evil.example/after?x=1",
        "https://APP.example.org/after?x=1", "https://app.example.org:443/after?x=1", APP + "#x",
        "https://app.example.org/after/../other?x=1", "http://app.example.org/after?x=1", "",
    ],
)  # fmt: skip
def test_an_address_that_differs_anywhere_is_not_the_registered_one(given: str) -> None:
    assert is_registered(APP, [APP])
    assert not is_registered(given, ["https://other.example.org/", APP])


def test_the_port_of_a_loopback_address_may_be_another_and_nothing_else() -> None:
    registered = ["http://127.0.0.1/cb", "http://[::1]:1/cb", "http://localhost:3000/cb"]
    assert is_registered("http://127.0.0.1:51004/cb", registered)
    assert is_registered("http://[::1]:51004/cb", registered)
    for other in (
        "http://localhost:51004/cb", "http://127.0.0.1:51004/other", "https://127.0.0.1:51004/cb",
        "http://127.0.0.1:80@evil.example/cb", "http://127.0.0.1:51004/cb?x", "http://127.0.0.1:x/cb",
        "http://127.0.0.1:51004/cb#", "http://evil.example/cb",
    ):  # fmt: skip
        assert not is_registered(other, registered), other


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin_of(APP) == "https://app.example.org"
    assert origin_of("http://localhost:3000/cb") == "http://localhost:3000"
    assert origin_of("org.example.app:/cb") is None
    assert require_origin("https://app.example.org") == "https://app.example.org"
    for bad in ("https://app.example.org/", "null", "*", "http://app.example.org", "https://App.example.org"):
        with pytest.raises(Invalid):
            require_origin(bad)


def test_fields_are_added_to_the_query_that_is_there() -> None:
    assert with_query(APP, {"code": "a&b", "state": "1 2", "iss": None}) == APP + "&code=a%26b&state=1+2"
    assert with_query("https://a.example/", {"code": "c"}) == "https://a.example/?code=c"
