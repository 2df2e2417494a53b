"""The data keys of tenants, by which bodies, messages, documents and secrets are encrypted at rest.

https://csrc.nist.gov/pubs/sp/800/38/d/final (AES-256-GCM)

Each tenant has keys of its own, numbered, wrapped by the master key; the newest one seals, all of them open. What is
sealed says by which key, and is bound to the place where it belongs: moved to another row, it does not open. Without a
master key everything is kept as it is, and what is kept so stays readable once there is one.
"""

from __future__ import annotations

import os
import struct
import time
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fhir_server.errors import Unreadable
from fhir_server.store.masterkey import KEY_BYTES, NONCE_BYTES, MasterKey

PLAIN, SEALED = 0, 1
_HEAD = struct.Struct("!BI")
_TEXT = _HEAD.size + NONCE_BYTES
PLAIN_HEAD = bytes((PLAIN,))
# Seconds for which the newest key of a tenant is taken to be the newest.
_FRESH = 30.0

_KEYS = "select id, wrapped, retired is null from data_key where tenant_id = %s order by id"
# A process that still has the master key of before must not wrap by it what nobody could open.
_ADD = (
    "insert into data_key (tenant_id, id, wrapped) select %s, %s, %s"
    " where exists (select from installation where master_check = %s) on conflict do nothing"
)


class Fetches(Protocol):
    """What runs a short statement aside from the pool; `Database` is one."""

    async def fetch_aside(self, sql: str, params: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Return the rows of a statement that touches no tenant's data."""


class Keyring:
    """Seals and opens; `ready` has to have been awaited for a tenant before anything is sealed for it."""

    def __init__(self, master: MasterKey | None = None) -> None:
        self._master = master
        self._keys: dict[tuple[int, int], AESGCM] = {}
        # The same keys, of which documents derive keys of their own.
        self._roots: dict[tuple[int, int], bytes] = {}
        self._newest: dict[int, tuple[int, float]] = {}

    @property
    def master(self) -> MasterKey | None:
        """Return the master key, None where there is none."""
        return self._master

    @property
    def on(self) -> bool:
        """Tell whether there is a master key, so that what is written is encrypted."""
        return self._master is not None

    @property
    def codec(self) -> int:
        """Return how bodies are written: PLAIN or SEALED."""
        return PLAIN if self._master is None else SEALED

    async def ready(self, db: Fetches, tenant_id: int) -> None:
        """Learn the tenant's keys, and make its first one where it has none. Raises Unreadable, errors.Busy."""
        newest = self._newest.get(tenant_id)
        if self._master is not None and (newest is None or time.monotonic() - newest[1] > _FRESH):
            await self._learn(db, tenant_id)

    async def known(self, db: Fetches, tenant_id: int, blob: bytes) -> None:
        """Have the key ready that a sealed blob names. Raises Unreadable where there is none."""
        await self.learn(db, tenant_id, _number(blob))

    async def learn(self, db: Fetches, tenant_id: int, number: int) -> None:
        """Have the key of a number ready, if the tenant has it. Raises Unreadable without a master key."""
        if (tenant_id, number) not in self._keys:
            await self._learn(db, tenant_id)

    def seal(self, tenant_id: int, place: bytes, data: bytes) -> bytes:
        """Return the data, encrypted where there is a master key, led by PLAIN or SEALED."""
        return self.sealed(tenant_id, place, data) if self._master is not None else PLAIN_HEAD + data

    def open(self, tenant_id: int, place: bytes, blob: bytes) -> bytes:
        """Return what `seal` was given. Raises Unreadable where key, place or blob are not those of then."""
        return blob[1:] if blob[:1] == PLAIN_HEAD else self.opened(tenant_id, place, blob)

    def sealed(self, tenant_id: int, place: bytes, data: bytes) -> bytes:
        """Return the data encrypted by the tenant's newest key: SEALED, number of the key, nonce, text and tag."""
        number = self._newest[tenant_id][0]
        head, nonce = _HEAD.pack(SEALED, number), os.urandom(NONCE_BYTES)
        return head + nonce + self._keys[tenant_id, number].encrypt(nonce, data, head + place)

    def opened(self, tenant_id: int, place: bytes, blob: bytes) -> bytes:
        """Return what `sealed` was given. Raises Unreadable."""
        key = self._keys.get((tenant_id, _number(blob)))
        if key is None:
            raise Unreadable(f"what is stored names a data key that tenant {tenant_id} does not have")
        try:
            return key.decrypt(blob[_HEAD.size : _TEXT], blob[_TEXT:], blob[: _HEAD.size] + place)
        except InvalidTag:
            raise Unreadable("what is stored was changed, or moved from another place") from None

    def newest(self, tenant_id: int) -> int:
        """Return the number of the key that seals for a tenant."""
        return self._newest[tenant_id][0]

    def derived(self, tenant_id: int, number: int, salt: bytes) -> AESGCM:
        """Return the key of a document of its own. Raises Unreadable where the tenant has no key of this number."""
        root = self._roots.get((tenant_id, number))
        if root is None:
            raise Unreadable(f"what is stored names a data key that tenant {tenant_id} does not have")
        return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, b"concord document").derive(root))

    def head(self, tenant_id: int) -> bytes:
        """Return the bytes that lead all that the tenant's newest key seals."""
        return _HEAD.pack(SEALED, self._newest[tenant_id][0])

    async def rotate(self, db: Fetches, tenant_id: int) -> int:
        """Make a new key by which this tenant's data are sealed from now on, and return its number."""
        await self._learn(db, tenant_id)
        number = self._newest[tenant_id][0] + 1
        await self._add(db, tenant_id, number)
        sql = "update data_key set retired = now() where tenant_id = %s and id < %s and retired is null"
        await db.fetch_aside(sql, (tenant_id, number))
        await self._learn(db, tenant_id)
        return number

    async def _learn(self, db: Fetches, tenant_id: int) -> None:
        if self._master is None:
            raise Unreadable("what is stored is encrypted, and there is no master key: set CONCORD_MASTER_KEY")
        rows = await db.fetch_aside(_KEYS, (tenant_id,))
        if not rows:
            await self._add(db, tenant_id, 1)
            rows = await db.fetch_aside(_KEYS, (tenant_id,))
        for number, wrapped, _ in rows:
            assert isinstance(number, int)
            assert isinstance(wrapped, bytes)
            if (tenant_id, number) not in self._keys:
                root = self._roots[tenant_id, number] = self._master.unwrap(tenant_id, number, wrapped)
                self._keys[tenant_id, number] = AESGCM(root)
        usable = [number for number, _, active in rows if active and isinstance(number, int)]
        if not usable:
            raise Unreadable(f"tenant {tenant_id} has no data key: the master key of this process is no longer the one")
        self._newest[tenant_id] = (max(usable), time.monotonic())

    async def _add(self, db: Fetches, tenant_id: int, number: int) -> None:
        assert self._master is not None
        wrapped = self._master.wrap(tenant_id, number, os.urandom(KEY_BYTES))
        await db.fetch_aside(_ADD, (tenant_id, number, wrapped, self._master.check))


def _number(blob: bytes) -> int:
    if len(blob) <= _TEXT or blob[0] != SEALED:
        raise Unreadable("what is stored is neither plain nor encrypted as this program does it")
    number: int = _HEAD.unpack_from(blob)[1]
    return number
