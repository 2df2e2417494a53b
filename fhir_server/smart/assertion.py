"""Client assertions: a JWT by which a client proves with its private key who it is.

https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html · https://www.rfc-editor.org/rfc/rfc7523
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeGuard

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey
from joserfc.jws import extract_compact

from fhir_server.errors import Invalid
from fhir_server.smart.refusal import Refusal

ALGORITHMS = ("RS384", "ES384")
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LONGEST = 16_384
_LONGEST_NAME = 255
# Five minutes are what the specification allows; clocks differ a little.
_LIFETIME = 300
_SKEW = 30
_SMALLEST_RSA = 2048
_MOST_KEYS = 20


class Assertion(msgspec.Struct, frozen=True):
    """What a verified assertion says; `jti` is to be used once before `expires`."""

    client_id: str
    jti: str
    expires: datetime


def claimed_client(text: str) -> str:
    """Return whom an assertion claims to come from, unverified: it chooses the keys to verify it with."""
    try:
        claims = msgspec.json.decode(_parsed(text)[1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        claims = None
    client_id = claims.get("sub") if isinstance(claims, dict) else None
    if not isinstance(client_id, str) or not 0 < len(client_id) <= _LONGEST_NAME:
        raise Refusal("invalid_client", "the assertion names no client in sub")
    return client_id


def claimed_key(text: str) -> str | None:
    """Return the id of the key that an assertion claims to be signed with, unverified."""
    kid = _parsed(text)[0].get("kid")
    return kid if isinstance(kid, str) else None


def verify(
    text: str, client_id: str, jwks: Mapping[str, Any], audience: str, now: datetime, jwks_uri: str | None = None
) -> Assertion:
    """Return what an assertion says once its signature, header and claims hold; raise Refusal otherwise.

    Its key is the registered one of its `kid`. Nothing that it brings along (jwk, jku, x5c, crit …) is ever looked at:
    an assertion with such a header is refused, but for a `jku` that is the registered address, as SMART has it.
    """
    header, _ = _parsed(text)
    if header.get("jku", jwks_uri) != jwks_uri:
        raise Refusal("invalid_client", "jku of an assertion is the registered address of the key set, or left out")
    if set(header) - {"alg", "kid", "typ", "jku"} or header.get("typ", "JWT") != "JWT":
        raise Refusal("invalid_client", "the header of an assertion has alg, kid and typ JWT, and nothing else")
    key = _key(jwks, header.get("kid"), header.get("alg"))
    try:
        claims = jwt.decode(text, key, algorithms=list(ALGORITHMS)).claims
    except (JoseError, ValueError, TypeError, KeyError) as problem:
        raise Refusal("invalid_client", "the signature of the assertion cannot be verified") from problem
    return _checked(claims, client_id, audience, int(now.timestamp()))


def require_jwks(content: Any) -> dict[str, Any]:
    """Return a client's key set if all of it can verify assertions; raise Invalid naming the first key that cannot."""
    keys = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(keys, list) or not 0 < len(keys) <= _MOST_KEYS:
        raise Invalid(f'a JWK set is {{"keys": [...]}} with 1 to {_MOST_KEYS} public keys')
    for number, key in enumerate(keys):
        problem = _unfit(key)
        if problem:
            raise Invalid(f"keys[{number}]: {problem}")
    if len({key["kid"] for key in keys}) < len(keys):
        raise Invalid("two keys have the same kid")
    return {"keys": [{name: value for name, value in key.items() if isinstance(value, str)} for key in keys]}


def _unfit(key: Any) -> str | None:
    if not isinstance(key, dict) or not isinstance(key.get("kid"), str) or not key["kid"]:
        return "a key needs a kid"
    if {"d", "p", "q", "k"} & set(key):
        return "this is a private key; register its public part alone"
    try:
        imported = _imported(key)
    except (JoseError, ValueError, TypeError, KeyError):
        return "it cannot be read as an RSA or EC key"
    if isinstance(imported, RSAKey) and imported.raw_value.key_size < _SMALLEST_RSA:
        return f"an RSA key has {_SMALLEST_RSA} bits or more"
    if isinstance(imported, ECKey) and key.get("crv") != "P-384":
        return "an EC key is of the curve P-384"
    return None


def _imported(key: Mapping[str, Any]) -> RSAKey | ECKey:
    return RSAKey.import_key(dict(key)) if key.get("kty") == "RSA" else ECKey.import_key(dict(key))


def _parsed(text: str) -> tuple[Mapping[str, Any], bytes]:
    if len(text) > _LONGEST:
        raise Refusal("invalid_client", "the assertion is too long")
    try:
        found = extract_compact(text.encode())
        return found.headers(), found.payload
    except (JoseError, ValueError, TypeError, RecursionError) as problem:
        raise Refusal("invalid_client", "client_assertion is not a signed JWT") from problem


def _key(jwks: Mapping[str, Any], kid: Any, algorithm: Any) -> KeySet:
    kind = {"RS384": "RSA", "ES384": "EC"}.get(algorithm) if isinstance(algorithm, str) else None
    if kind is None:
        raise Refusal("invalid_client", f"an assertion is signed with {' or '.join(ALGORITHMS)}")
    found = [key for key in jwks.get("keys", ()) if key.get("kid") == kid and key.get("kty") == kind]
    if not found:
        raise Refusal(
            "invalid_client", "the assertion is signed with a key that is not registered: look at kid and alg"
        )
    return KeySet([_imported(found[0])])


def _checked(claims: Mapping[str, Any], client_id: str, audience: str, now: int) -> Assertion:
    jti, expires = claims.get("jti"), claims.get("exp")
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        raise Refusal("invalid_client", "iss and sub of an assertion are both the client's id")
    if audience not in _audiences(claims.get("aud")):
        raise Refusal("invalid_client", f"aud of an assertion is the token endpoint, {audience}")
    if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_NAME or "\0" in jti:
        raise Refusal("invalid_client", f"jti is a text of 1 to {_LONGEST_NAME} characters")
    if not _is_moment(expires) or expires <= now:
        raise Refusal("invalid_client", "the assertion has expired, or has no exp in whole seconds")
    if expires > now + _LIFETIME + _SKEW:
        raise Refusal("invalid_client", "exp of an assertion is at most five minutes from now")
    for name in ("iat", "nbf"):
        given = claims.get(name)
        if given is not None and not (_is_moment(given) and given <= now + _SKEW):
            raise Refusal("invalid_client", f"{name} of the assertion lies in the future")
    return Assertion(client_id, jti, datetime.fromtimestamp(expires, UTC))


def _is_moment(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _audiences(given: Any) -> Sequence[Any]:
    return given if isinstance(given, list) else [given]
