"""Authorization codes and refresh tokens, as hashes: each is good once, and used twice it gives its grant away.

https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2 · https://www.rfc-editor.org/rfc/rfc9700#section-4.14
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from fhir_server.store.database import Tx


class Code(msgspec.Struct, frozen=True):
    """A code of a grant, for one client at one redirect URI with one challenge; `used` when it was redeemed."""

    code_hash: bytes
    grant_id: str
    client_id: str
    redirect_uri: str
    challenge: str
    nonce: str | None
    signed_in: datetime
    expires: datetime
    used: datetime | None = None


class Refresh(msgspec.Struct, frozen=True):
    """A refresh token of a grant, for one client; `used` when another took its place."""

    token_hash: bytes
    grant_id: str
    client_id: str
    expires: datetime
    used: datetime | None = None


_CODE = "code_hash, grant_id, client_id, redirect_uri, challenge, nonce, signed_in, expires, used"
_REFRESH = "token_hash, grant_id, client_id, expires, used"
_ADD_CODE = f"insert into oauth_code (tenant_id, {_CODE}) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
_FIND_CODE = f"select {_CODE} from oauth_code where tenant_id = %s and code_hash = %s for update"  # noqa: S608
_USE_CODE = "update oauth_code set used = %s where tenant_id = %s and code_hash = %s"
_ADD_REFRESH = f"insert into oauth_refresh (tenant_id, {_REFRESH}) values (%s, %s, %s, %s, %s, %s)"  # noqa: S608
_FIND_REFRESH = f"select {_REFRESH} from oauth_refresh where tenant_id = %s and token_hash = %s for update"  # noqa: S608
_USE_REFRESH = "update oauth_refresh set used = %s where tenant_id = %s and token_hash = %s"
# What is over is kept as long as its use would still be a sign of theft.
_SWEEP = (
    "delete from oauth_code where tenant_id = %s and expires < %s - interval '1 day'",
    "delete from oauth_refresh where tenant_id = %s and expires < %s",
)


def add_code(tx: Tx, code: Code, now: datetime) -> None:
    """Queue a code, and the removal of what expired long ago."""
    for statement in _SWEEP:
        tx.defer(statement, (tx.tenant_id, now))
    tx.defer(_ADD_CODE, (tx.tenant_id, *msgspec.structs.astuple(code)))


async def code(tx: Tx, code_hash: bytes) -> Code | None:
    """Return a code, used or not, and lock it: of two who bring it, the second sees that it was used."""
    rows = await tx.fetch(_FIND_CODE, (tx.tenant_id, code_hash))
    return Code(*rows[0]) if rows else None


def use_code(tx: Tx, code_hash: bytes, now: datetime) -> None:
    """Queue that the code was redeemed."""
    tx.defer(_USE_CODE, (now, tx.tenant_id, code_hash))


def add_refresh(tx: Tx, token: Refresh) -> None:
    """Queue a refresh token."""
    tx.defer(_ADD_REFRESH, (tx.tenant_id, *msgspec.structs.astuple(token)))


async def refresh(tx: Tx, token_hash: bytes) -> Refresh | None:
    """Return a refresh token, used or not, and lock it."""
    rows = await tx.fetch(_FIND_REFRESH, (tx.tenant_id, token_hash))
    return Refresh(*rows[0]) if rows else None


def use_refresh(tx: Tx, token_hash: bytes, now: datetime) -> None:
    """Queue that another token took its place."""
    tx.defer(_USE_REFRESH, (now, tx.tenant_id, token_hash))
