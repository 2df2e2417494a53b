"""What may be registered: each kind of client with what it proves itself by, and no more than it can need."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fhir_server.errors import Invalid
from fhir_server.smart.registration import Registration, registered
from fhir_server.store import opaque
from tests.apps import jwks

NOW = datetime(2026, 1, 1, tzinfo=UTC)
APP: dict[str, Any] = {
    "name": "An app", "kind": "public", "scope": "launch openid patient/*.rs",
    "redirect_uris": ["https://app.example.org/after"],
}  # fmt: skip
SERVICE: dict[str, Any] = {"name": "A service", "kind": "asymmetric", "scope": "system/*.rs", "jwks": jwks()}


def test_a_symmetric_client_gets_a_secret_of_which_the_hash_is_kept() -> None:
    client, secret = registered(Registration(**{**APP, "kind": "symmetric"}), NOW)
    assert secret
    assert client.secret_hash == opaque.hashed(secret)
    assert registered(Registration(**APP), NOW)[1] is None


def test_the_origins_of_an_app_are_those_of_its_addresses_and_the_named_ones() -> None:
    more = {"launch_uri": "http://localhost:3000/launch", "origins": ["https://www.example.org"]}
    client, _ = registered(Registration(**{**APP, **more}), NOW)
    assert client.origins == ["http://localhost:3000", "https://app.example.org", "https://www.example.org"]
    native = {**APP, "redirect_uris": ["org.example.app:/after"]}
    assert registered(Registration(**native), NOW)[0].origins == []


def test_a_client_id_is_made_where_none_is_given() -> None:
    one, another = (registered(Registration(**APP), NOW)[0].client_id for _ in range(2))
    assert one != another
    assert registered(Registration(**{**APP, "client_id": "mine"}), NOW)[0].client_id == "mine"


@pytest.mark.parametrize(
    "given",
    [
        SERVICE,
        {**SERVICE, "jwks": None, "jwks_uri": "https://service.example.org/jwks"},
        {**APP, "kind": "asymmetric", "jwks": jwks()},
        {**APP, "kind": "asymmetric", "jwks": jwks(), "scope": "system/*.rs user/*.rs"},
        {"name": "Resource server", "kind": "symmetric", "scope": "introspection"},
    ],
)
def test_what_is_in_order_is_registered(given: dict[str, Any]) -> None:
    assert registered(Registration(**given), NOW)[0].kind == given["kind"]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({**APP, "scope": ""}, "scopes"),
        ({**APP, "scope": "openid nonsense"}, "nonsense"),
        ({**APP, "scope": "patient/Nonsense.rs"}, "Nonsense"),
        ({**APP, "scope": "patient/Patient.sr"}, "Patient.sr"),
        ({**APP, "scope": "patient/*.rs system/*.rs"}, "system"),
        ({**APP, "kind": "symmetric", "scope": "patient/*.rs system/*.rs"}, "system"),
        ({**APP, "scope": "patient/*.rs introspection"}, "introspection"),
        ({**APP, "redirect_uris": []}, "redirect"),
        ({**SERVICE, "redirect_uris": APP["redirect_uris"]}, "redirect"),
        ({**APP, "redirect_uris": ["http://app.example.org/"]}, "https"),
        ({**APP, "redirect_uris": ["https://app.example.org/"] * 21}, "at most"),
        ({**APP, "kind": "symmetric", "redirect_uris": ["org.example.app:/after"]}, "https"),
        ({**APP, "launch_uri": "javascript:alert(1)"}, "launch address"),
        ({**APP, "scope": "patient/*.rs", "launch_uri": "https://app.example.org/launch"}, "scope launch"),
        ({**APP, "origins": ["*"]}, "origin"),
        ({**APP, "origins": ["null"]}, "origin"),
        ({**APP, "jwks": jwks()}, "asymmetric"),
        ({**APP, "kind": "asymmetric"}, "key set"),
        ({**SERVICE, "jwks_uri": "https://service.example.org/jwks"}, "key set"),
        ({**SERVICE, "jwks": None, "jwks_uri": "http://service.example.org/jwks"}, "https"),
        ({**SERVICE, "jwks": {"keys": []}}, "JWK set"),
        ({**APP, "client_id": "a:b"}, "client_id"),
        ({**APP, "client_id": "a\n"}, "client_id"),
        ({**APP, "client_id": "x" * 300}, "client_id"),
        ({**APP, "name": " "}, "name"),
        ({**APP, "name": "a\nb"}, "name"),
    ],
)  # fmt: skip
def test_what_is_not_in_order_is_refused_with_the_reason(given: dict[str, Any], word: str) -> None:
    with pytest.raises(Invalid, match=word):
        registered(Registration(**given), NOW)
