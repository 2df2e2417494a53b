"""Security keys: what they sign counts once, here, for whom it was asked; nothing else does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from fhir_server.smart.security_keys import SecurityKeys
from fhir_server.store.factors import Factor
from tests.smart.authenticator import Authenticator

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = SecurityKeys("https://clinic.example")


def challenge_of(options: str) -> str:
    return str(json.loads(options)["challenge"])


@pytest.fixture
def key() -> Authenticator:
    return Authenticator("https://clinic.example", "clinic.example")


def registered(key: Authenticator, number: int = 1) -> Factor:
    """Return the factor of a key that was added."""
    asked = KEYS.to_register(7, "ada@example.org", "Ada", [])
    made = KEYS.registered(key.make(challenge_of(asked.options)), asked.challenge)
    assert made
    assert made.credential == key.id
    return Factor(number, "webauthn", "Key", None, made.credential, made.public_key, made.counter, NOW, None)


def test_a_key_that_was_added_signs(key: Authenticator) -> None:
    factor = registered(key)
    asked = KEYS.to_sign([factor])
    signed = KEYS.signed(key.sign(challenge_of(asked.options)), asked.challenge, [factor])
    assert signed
    assert (signed.factor, signed.counter) == (factor, 1)


def test_of_several_keys_the_one_that_signed_is_told(key: Authenticator) -> None:
    other = Authenticator(key.origin, key.host)
    owned = [registered(key, 1), registered(other, 2)]
    asked = KEYS.to_sign(owned)
    signed = KEYS.signed(other.sign(challenge_of(asked.options)), asked.challenge, owned)
    assert signed
    assert signed.factor.id == 2


LIES: list[dict[str, Any]] = [
    {"origin": "https://evil.example"},
    {"origin": "https://clinic.example.evil.example"},
    {"origin": "http://clinic.example"},
    {"host": "evil.example"},
    {"flags": 0},
    {"type": "webauthn.other"},
]


@pytest.mark.parametrize("lie", [*LIES, {"type": "webauthn.create"}, {"id": b"another credential"}, {"counter": 0}])
def test_what_was_signed_elsewhere_or_otherwise_is_refused(key: Authenticator, lie: dict[str, Any]) -> None:
    factor = registered(key)
    key.sign("once before")
    used = Factor(1, "webauthn", "Key", None, factor.credential, factor.public_key, 1, NOW, NOW)
    asked = KEYS.to_sign([used])
    assert KEYS.signed(key.sign(challenge_of(asked.options), **lie), asked.challenge, [used]) is None
    assert KEYS.signed(key.sign(challenge_of(asked.options)), asked.challenge, [used])


@pytest.mark.parametrize("lie", [*LIES, {"type": "webauthn.get"}])
def test_what_was_made_elsewhere_or_otherwise_is_refused(key: Authenticator, lie: dict[str, Any]) -> None:
    asked = KEYS.to_register(7, "ada@example.org", "Ada", [])
    if "flags" in lie:
        lie = {"flags": 0x40}
    assert KEYS.registered(key.make(challenge_of(asked.options), **lie), asked.challenge) is None


def test_another_challenge_or_another_persons_key_is_refused(key: Authenticator) -> None:
    factor = registered(key)
    asked, other = KEYS.to_sign([factor]), KEYS.to_sign([factor])
    answer = key.sign(challenge_of(asked.options))
    assert KEYS.signed(answer, other.challenge, [factor]) is None
    theirs = registered(Authenticator(key.origin, key.host))
    assert KEYS.signed(answer, asked.challenge, [theirs]) is None
    assert KEYS.signed(answer, asked.challenge, []) is None


def test_a_copy_of_a_key_that_counts_behind_is_refused(key: Authenticator) -> None:
    factor = registered(key)
    ahead = Factor(1, "webauthn", "Key", None, factor.credential, factor.public_key, 5, NOW, NOW)
    asked = KEYS.to_sign([ahead])
    assert KEYS.signed(key.sign(challenge_of(asked.options), counter=5), asked.challenge, [ahead]) is None
    assert KEYS.signed(key.sign(challenge_of(asked.options), counter=6), asked.challenge, [ahead])


@pytest.mark.parametrize("answer", ["", "{}", "[]", "null", "no json", '{"id": 1}', "x" * 40_000, '{"id":"a"}'])
def test_what_is_no_answer_is_refused_and_nothing_worse(key: Authenticator, answer: str) -> None:
    factor = registered(key)
    assert KEYS.registered(answer, b"challenge") is None
    assert KEYS.signed(answer, b"challenge", [factor]) is None


@pytest.mark.parametrize(
    ("base_url", "usable"),
    [
        ("https://clinic.example", True),
        ("http://localhost:8080", True),
        ("http://127.0.0.1:8080", False),
        ("https://10.0.0.1", False),
        ("http://clinic.example", False),
    ],
)
def test_keys_are_offered_where_browsers_let_them_be_used(base_url: str, usable: bool) -> None:
    assert SecurityKeys(base_url).usable is usable
