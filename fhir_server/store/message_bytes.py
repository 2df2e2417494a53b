"""The bytes of a message, its acknowledgement and its fields, as the inbox stores them: encrypted by a master key.

What stays of a message whose documents stand in the object store is sealed with their places; see lifted.py.

A message gets its number from the database, so what binds its bytes to their row is their own hash, which stands there.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.store.database import Database
from fhir_server.store.keyring import PLAIN, SEALED, Keyring
from fhir_server.store.lifted import LIFTED, Lifted, Parts, beheaded, headed, packed, unpacked


def codec(keyring: Keyring, lifted: Sequence[Lifted]) -> int:
    """Return how a message is stored."""
    return LIFTED if lifted else keyring.codec


def raw(keyring: Keyring, tenant_id: int, content_hash: bytes, data: bytes, lifted: Sequence[Lifted] = ()) -> bytes:
    """Return a message as it is stored; the codec of its row tells how."""
    if lifted:
        return headed(keyring.seal(tenant_id, _raw_of(content_hash), packed(data, lifted)))
    return keyring.sealed(tenant_id, _raw_of(content_hash), data) if keyring.on else data


def ack(keyring: Keyring, tenant_id: int, content_hash: bytes, data: bytes | None) -> bytes | None:
    """Return an acknowledgement as it is stored, None for none; a plain one begins with MSH."""
    return data and (keyring.sealed(tenant_id, _ack_of(content_hash), data) if keyring.on else data)


def fields(keyring: Keyring, tenant_id: int, content_hash: bytes, data: bytes | None) -> bytes | None:
    """Return the fields of a message as they are stored, None for none; plain ones begin with `{`."""
    return data and (keyring.sealed(tenant_id, _fields_of(content_hash), data) if keyring.on else data)


async def opened_message(db: Database, tenant_id: int, content_hash: bytes, stored: bytes, codec: int) -> Parts:
    """Return a message as it came, or what stays of it, and its documents. Raises errors.Unreadable."""
    if codec == PLAIN:
        return Parts(stored, ())
    if codec == LIFTED:
        return unpacked(await db.unseal(tenant_id, _raw_of(content_hash), beheaded(stored)))
    await db.keyring.known(db, tenant_id, stored)
    return Parts(db.keyring.opened(tenant_id, _raw_of(content_hash), stored), ())


async def opened_ack(db: Database, tenant_id: int, content_hash: bytes, stored: bytes | None) -> bytes | None:
    """Return an acknowledgement as it was sent. Raises errors.Unreadable."""
    if stored is None or not is_sealed(stored):
        return stored
    await db.keyring.known(db, tenant_id, stored)
    return db.keyring.opened(tenant_id, _ack_of(content_hash), stored)


async def opened_fields(db: Database, tenant_id: int, content_hash: bytes, stored: bytes) -> bytes:
    """Return the fields of a message. Raises errors.Unreadable."""
    if not is_sealed(stored):
        return stored
    await db.keyring.known(db, tenant_id, stored)
    return db.keyring.opened(tenant_id, _fields_of(content_hash), stored)


def is_sealed(stored: bytes) -> bool:
    """Tell whether an acknowledgement or fields are encrypted."""
    return stored[:1] == bytes((SEALED,))


def _raw_of(content_hash: bytes) -> bytes:
    return b"inbox/raw/" + content_hash


def _ack_of(content_hash: bytes) -> bytes:
    return b"inbox/ack/" + content_hash


def _fields_of(content_hash: bytes) -> bytes:
    return b"inbox/fields/" + content_hash
