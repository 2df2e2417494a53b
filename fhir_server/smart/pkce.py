"""Proof Key for Code Exchange: who redeems a code is who asked for it. S256 and nothing else.

https://www.rfc-editor.org/rfc/rfc7636
"""

from __future__ import annotations

import base64
import hashlib
import re
from secrets import compare_digest

from fhir_server.smart.refusal import Refusal

METHODS = ("S256",)
# SHA-256 in base64url without padding has 43 characters.
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")


def require_challenge(challenge: str | None, method: str | None) -> str:
    """Return the challenge of an authorization request; raise Refusal where it is missing or no S256 challenge."""
    if not challenge or method not in METHODS:
        raise Refusal("invalid_request", "code_challenge is needed, with code_challenge_method S256")
    if not _CHALLENGE.match(challenge):
        raise Refusal("invalid_request", "code_challenge is a SHA-256 in base64url, of 43 characters")
    return challenge


def require_verifier(verifier: str | None, challenge: str) -> None:
    """Raise Refusal unless `verifier` is the one that the challenge was made of."""
    if not verifier or not _VERIFIER.match(verifier):
        raise Refusal("invalid_grant", "code_verifier is needed: 43 to 128 letters, digits and -._~")
    if not compare_digest(challenge_of(verifier), challenge):
        raise Refusal("invalid_grant", "code_verifier is not the one that code_challenge was made of")


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
