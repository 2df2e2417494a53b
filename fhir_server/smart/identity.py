"""id_tokens: who signed in, for the app that asked, signed so that every OpenID Connect client can verify it.

https://openid.net/specs/openid-connect-core-1_0.html#IDToken
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

from fhir_server.store.grants import Holder
from fhir_server.store.keys import IDENTITY_ALGORITHM, SigningKey


def id_token(
    key: SigningKey,
    base: str,
    client_id: str,
    holder: Holder,
    scope: str,
    now: datetime,
    *,
    nonce: str | None,
    signed_in: datetime,
    lifetime: timedelta,
) -> str:
    """Return the id_token of a person for a client; the scopes say whether it tells their FHIR user and name."""
    issued = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": base,
        "sub": holder.sub,
        "aud": client_id,
        "exp": issued + int(lifetime.total_seconds()),
        "iat": issued,
        "auth_time": int(signed_in.timestamp()),
    }
    asked = scope.split()
    if nonce is not None:
        claims["nonce"] = nonce
    if "fhirUser" in asked and holder.reference:
        claims["fhirUser"] = f"{base}/{holder.reference}"
    if "profile" in asked:
        claims["name"] = holder.name
    header = {"alg": IDENTITY_ALGORITHM, "kid": key.kid, "typ": "JWT"}
    return jwt.encode(header, claims, RSAKey.import_key(key.jwk), algorithms=[IDENTITY_ALGORITHM])
