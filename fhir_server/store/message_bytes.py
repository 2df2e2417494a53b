"""The bytes of a message, its acknowledgement and its fields, as the inbox stores them: encrypted by a master key.

A message gets its number from the database, so what binds its bytes to their row is their own hash, which stands there.
"""

from __future__ import annotations

from fhir_server.store.database import Database
from fhir_server.store.keyring import PLAIN, SEALED, Keyring


def raw(keyring: Keyring, tenant_id: int, content_hash: bytes, data: bytes) -> bytes:
    """Return a message as it is stored; the codec of its row tells how."""
    return keyring.sealed(tenant_id, _raw_of(content_hash), data) if keyring.on else data


def ack(keyring: Keyring, tenant_id: int, content_hash: bytes, data: bytes | None) -> bytes | None:
    """Return an acknowledgement as it is stored, None for none; a plain one begins with MSH."""
    return data and (keyring.sealed(tenant_id, _ack_of(content_hash), data) if keyring.on else data)


def fields(keyring: Keyring, tenant_id: int, content_hash: bytes, data: bytes | None) -> bytes | None:
    """Return the fields of a message as they are stored, None for none; plain ones begin with `{`."""
    return data and (keyring.sealed(tenant_id, _fields_of(content_hash), data) if keyring.on else data)


async def opened_raw(db: Database, tenant_id: int, content_hash: bytes, stored: bytes, codec: int) -> bytes:
    """Return a message as it came. Raises errors.Unreadable."""
    if codec == PLAIN:
        return stored
    await db.keyring.known(db, tenant_id, stored)
    return db.keyring.opened(tenant_id, _raw_of(content_hash), stored)


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
