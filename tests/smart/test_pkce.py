"""PKCE: S256 challenges alone, and only the verifier that one was made of.

https://www.rfc-editor.org/rfc/rfc7636#appendix-B
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.smart.pkce import challenge_of, require_challenge, require_verifier
from fhir_server.smart.refusal import Refusal

# The example of the specification.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_challenge_of_the_specifications_example() -> None:
    assert challenge_of(VERIFIER) == CHALLENGE
    assert require_challenge(CHALLENGE, "S256") == CHALLENGE
    require_verifier(VERIFIER, CHALLENGE)


@pytest.mark.parametrize(
    ("challenge", "method"),
    [
        (CHALLENGE, "plain"), (CHALLENGE, None), (CHALLENGE, "s256"), (None, "S256"), ("", "S256"),
        (CHALLENGE + "A", "S256"), (CHALLENGE[:-1], "S256"), (CHALLENGE[:-1] + "=", "S256"), (CHALLENGE + "\n", "S256"),
    ],
)  # fmt: skip
def test_what_is_no_s256_challenge_is_refused(challenge: str | None, method: str | None) -> None:
    with pytest.raises(Refusal, match="invalid_request"):
        require_challenge(challenge, method)


@pytest.mark.parametrize(
    "verifier", [None, "", " ", CHALLENGE, VERIFIER[:-1], VERIFIER + "\n", VERIFIER[:-1] + "é", "a" * 129, "a" * 43]
)
def test_another_verifier_is_refused(verifier: str | None) -> None:
    with pytest.raises(Refusal, match="invalid_grant"):
        require_verifier(verifier, CHALLENGE)


@given(st.text("abcXYZ019-._~", min_size=43, max_size=128), st.text("abcXYZ019-._~", min_size=43, max_size=128))
def test_a_verifier_fits_its_own_challenge_alone(one: str, other: str) -> None:
    require_verifier(one, challenge_of(one))
    if one != other:
        with pytest.raises(Refusal):
            require_verifier(other, challenge_of(one))
