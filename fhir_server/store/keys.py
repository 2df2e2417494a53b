"""Secrets of the installation and of its tenants: what hashes the index, what signs access tokens.

https://www.rfc-editor.org/rfc/rfc7517 (JSON Web Key)
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec
from joserfc.jwk import ECKey, KeyParameters, RSAKey

from fhir_server.errors import Invalid, Unreadable
from fhir_server.store.database import Database

# What signs access tokens, id_tokens (every OpenID Connect client knows it), and assertions for servers of others.
ALGORITHM = "ES256"
IDENTITY_ALGORITHM = "RS256"
ASSERTION_ALGORITHM = "ES384"
_CURVES: Mapping[str, Literal["P-256", "P-384"]] = MappingProxyType({ALGORITHM: "P-256", ASSERTION_ALGORITHM: "P-384"})
_RSA_BITS = 2048
_SEALED = "sealed"
_SECRET_BYTES = 32
# To what the wrapped secret is bound.
SECRET = b"secret of the installation"


class SigningKey(msgspec.Struct, frozen=True):
    """A private key as a JSON Web Key; a retired one signs no more but still verifies."""

    tenant_id: int
    kid: str
    alg: str
    jwk: dict[str, Any]
    retired: bool = False


_COLUMNS = "tenant_id, kid, alg, jwk, retired is not null"
_ACTIVE = (
    f"select {_COLUMNS} from signing_key where tenant_id = %s and alg = %s and retired is null"  # noqa: S608
    " order by created desc, kid limit 1"
)


async def ensure_installation(db: Database) -> None:
    """Make the installation's row and its secret, where they are not there yet."""
    if not await db.fetch(None, "select 1 from installation where id = 1"):
        sql = "insert into installation (id, secret) values (1, %s) on conflict do nothing"
        await db.fetch(None, sql, (secrets.token_bytes(_SECRET_BYTES),))


async def master_check(db: Database) -> bytes | None:
    """Return what tells the master key of the installation from any other; None before its first use."""
    rows = await db.fetch(None, "select master_check from installation where id = 1")
    return rows[0][0] if rows else None


async def note_master(db: Database, check: bytes) -> bytes | None:
    """Note the master key at its first use, and return what is noted: another process may have been first."""
    await db.fetch(None, "update installation set master_check = %s where id = 1 and master_check is null", (check,))
    return await master_check(db)


async def installation_secret(db: Database) -> bytes:
    """Return the 32 bytes that key the index and sign cursors, made on first use, the same for every process.

    With it, a code's hash in the index tells the code: so it is wrapped by the master key, where there is one.
    """
    await ensure_installation(db)
    [(stored,)] = await db.fetch(None, "select secret from installation where id = 1")
    master = db.keyring.master
    if len(stored) != _SECRET_BYTES:
        if master is None:
            raise Unreadable("the installation's secret is encrypted, and there is no master key")
        return master.open(SECRET, stored)
    if master is not None:
        sql = "update installation set secret = %s where id = 1 and secret = %s"
        await db.fetch(None, sql, (master.seal(SECRET, stored), stored))
    return bytes(stored)


async def active(db: Database, tenant_id: int, alg: str = ALGORITHM) -> SigningKey:
    """Return the newest key that signs so for the tenant, made on first use. Raises Invalid for an unknown tenant."""
    rows = await db.fetch(None, _ACTIVE, (tenant_id, alg))
    return await _opened(db, rows[0]) if rows else await _first(db, tenant_id, alg)


async def rotate(db: Database, tenant_id: int, alg: str = ALGORITHM) -> SigningKey:
    """Retire the tenant's keys that sign so and return a new one; what they signed stays good until it expires."""
    key = await _generated(tenant_id, alg)
    retire = "update signing_key set retired = now() where tenant_id = %s and alg = %s and retired is null"
    async with db.transaction(None) as tx:
        tx.defer(retire, (tenant_id, alg))
        tx.defer(_INSERT, (tenant_id, key.kid, key.alg, await _stored(db, key)))
    return key


async def revoke(db: Database, tenant_id: int) -> int:
    """Let nothing count any more that a retired key of the tenant signed; return how many keys that are."""
    sql = (
        "update signing_key set revoked = now() where tenant_id = %s and retired is not null and revoked is null"
        " returning kid"
    )
    return len(await db.fetch(None, sql, (tenant_id,)))


async def by_kid(db: Database, kid: str) -> SigningKey | None:
    """Return the key of this id, retired or not, or None; a revoked one is none."""
    sql = f"select {_COLUMNS} from signing_key where kid = %s and revoked is null"  # noqa: S608
    rows = await db.fetch(None, sql, (kid,))
    return await _opened(db, rows[0]) if rows else None


async def public(db: Database, tenant_id: int) -> list[dict[str, Any]]:
    """Return the public parts of the tenant's keys as JSON Web Keys, the newest first, retired but not revoked ones."""
    sql = "select jwk from signing_key where tenant_id = %s and revoked is null order by created desc, kid"
    rows = await db.fetch(None, sql, (tenant_id,))
    return [_public({name: value for name, value in jwk.items() if name != _SEALED}) for (jwk,) in rows]


def finder(db: Database, most: int = 1000) -> Callable[[str], Awaitable[SigningKey | None]]:
    """Return `by_kid` that remembers what it found; a key never changes but for being retired."""
    known: dict[str, SigningKey] = {}

    async def find(kid: str) -> SigningKey | None:
        key = known.get(kid)
        if key is None and len(kid) <= 64 and (key := await by_kid(db, kid)) is not None:
            if len(known) >= most:
                known.clear()
            known[kid] = key
        return key

    return find


_INSERT = "insert into signing_key (tenant_id, kid, alg, jwk) values (%s, %s, %s, %s)"


async def _first(db: Database, tenant_id: int, alg: str) -> SigningKey:
    """Make a tenant's first key; of several processes that try, one makes it and all return it."""
    key = await _generated(tenant_id, alg)
    async with db.transaction(None) as tx:
        # The tenant's row is the lock: without it two processes would each make a key.
        if not await tx.fetch("select 1 from tenant where id = %s for update", (tenant_id,)):
            raise Invalid(f"there is no tenant {tenant_id}")
        rows = await tx.fetch(_ACTIVE, (tenant_id, alg))
        if rows:
            return await _opened(db, rows[0])
        tx.defer(_INSERT, (tenant_id, key.kid, key.alg, await _stored(db, key)))
    return key


async def _generated(tenant_id: int, alg: str) -> SigningKey:
    kid = secrets.token_urlsafe(16)
    about: KeyParameters = {"kid": kid, "alg": alg, "use": "sig"}
    if alg in _CURVES:
        made: ECKey | RSAKey = ECKey.generate_key(_CURVES[alg], about, private=True)
    else:
        # The primes take a while, which other requests need not wait for.
        made = await asyncio.to_thread(RSAKey.generate_key, _RSA_BITS, about, private=True)
    return SigningKey(tenant_id, kid, alg, dict(made.as_dict(private=True)))


def _public(jwk: dict[str, Any]) -> dict[str, Any]:
    key = RSAKey.import_key(jwk) if jwk["kty"] == "RSA" else ECKey.import_key(jwk)
    return dict(key.as_dict(private=False))


async def _stored(db: Database, key: SigningKey) -> dict[str, Any]:
    """Return a key as it is stored: its public part, and the whole encrypted where there is a master key."""
    if not db.keyring.on:
        return key.jwk
    sealed = await db.seal(key.tenant_id, _place(key.kid), msgspec.json.encode(key.jwk))
    return {**_public(key.jwk), _SEALED: base64.b64encode(sealed).decode()}


async def _opened(db: Database, row: tuple[Any, ...]) -> SigningKey:
    key = SigningKey(*row)
    if (sealed := key.jwk.get(_SEALED)) is None:
        return key
    jwk = await db.unseal(key.tenant_id, _place(key.kid), base64.b64decode(sealed))
    return msgspec.structs.replace(key, jwk=msgspec.json.decode(jwk))


def _place(kid: str) -> bytes:
    return b"signing_key/" + kid.encode()
