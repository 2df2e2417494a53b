"""One-time codes of an authenticator app: six digits that change every thirty seconds.

https://www.rfc-editor.org/rfc/rfc6238 · https://www.rfc-editor.org/rfc/rfc4226#section-5.3
"""

from __future__ import annotations

import base64
import hmac
import secrets
from datetime import datetime
from urllib.parse import quote, urlencode

SECONDS = 30
_DIGITS = 6
_SECRET_BYTES = 20
# A code of the step before and of the step after is taken too: clocks differ, and people type slowly.
_AROUND = (0, -1, 1)


def new_secret() -> bytes:
    """Return a secret to share with one authenticator."""
    return secrets.token_bytes(_SECRET_BYTES)


def step_of(now: datetime) -> int:
    """Return the number of the thirty seconds that `now` is in."""
    return int(now.timestamp()) // SECONDS


def code(secret: bytes, step: int) -> str:
    """Return the code of a step."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    at = digest[-1] & 0x0F
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**_DIGITS).zfill(_DIGITS)


def matched(secret: bytes, typed: str, now: datetime, after: int) -> int | None:
    """Return the step, later than `after`, whose code was typed, or None: each code is good once."""
    given = "".join(typed.split()).encode()
    found = None
    for step in (step_of(now) + by for by in _AROUND):
        # Every step is compared, whichever matches.
        if hmac.compare_digest(code(secret, step).encode(), given) and step > after and found is None:
            found = step
    return found


def spelled(secret: bytes) -> str:
    """Return the secret as people type it into an app."""
    return base64.b32encode(secret).decode().rstrip("=")


def address(secret: bytes, account: str, issuer: str) -> str:
    """Return the otpauth address that a QR code shows to an app."""
    query = urlencode({"secret": spelled(secret), "issuer": issuer}, quote_via=quote)
    return f"otpauth://totp/{quote(issuer, safe='')}:{quote(account, safe='')}?{query}"
