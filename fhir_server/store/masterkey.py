"""The master key of an installation: it wraps each tenant's data key and encrypts nothing else.

https://csrc.nist.gov/pubs/sp/800/38/d/final (AES-GCM) · https://www.rfc-editor.org/rfc/rfc5869 (HKDF)
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fhir_server.errors import Unreadable

KEY_BYTES = 32
NONCE_BYTES = 12
_CHECK_BYTES = 16


class MasterKey:
    """A master key; `check` tells it from any other without telling anything of it."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the master key has {len(key)} bytes, not {KEY_BYTES}")
        self.check = _derived(key, b"concord master key: check", _CHECK_BYTES)
        self._wrapping = AESGCM(_derived(key, b"concord master key: wrap", KEY_BYTES))

    @classmethod
    def of(cls, text: str) -> MasterKey:
        """Return the key that a text holds: 32 bytes in base64. Raises ValueError, without the text."""
        try:
            return cls(base64.b64decode(text.strip().encode(), validate=True))
        except (binascii.Error, UnicodeEncodeError):
            raise ValueError("the master key is not base64") from None

    def wrap(self, tenant_id: int, number: int, key: bytes) -> bytes:
        """Return a data key so that only this master key gives it back, and only as this tenant's of this number."""
        return self.seal(_named(tenant_id, number), key)

    def unwrap(self, tenant_id: int, number: int, wrapped: bytes) -> bytes:
        """Return the data key. Raises Unreadable where it was wrapped by another master key, or changed."""
        return self.open(_named(tenant_id, number), wrapped)

    def seal(self, place: bytes, data: bytes) -> bytes:
        """Return a secret of the installation encrypted, bound to its place."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._wrapping.encrypt(nonce, data, place)

    def open(self, place: bytes, blob: bytes) -> bytes:
        """Return what `seal` was given. Raises Unreadable where it was sealed by another master key, or changed."""
        try:
            return self._wrapping.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], place)
        except InvalidTag:
            raise Unreadable(f"the {place.decode()} does not open by this master key") from None

    def is_of(self, check: bytes) -> bool:
        """Tell whether a stored check is this key's."""
        return hmac.compare_digest(self.check, check)


def kept(file: Path) -> MasterKey | None:
    """Return the key that a file holds, None where there is no such file. Raises ValueError or OSError."""
    try:
        return MasterKey.of(file.read_text())
    except FileNotFoundError:
        return None


def made(file: Path) -> MasterKey:
    """Return the key of a file, which gets a new one where it is not there yet; of several that try, one makes it."""
    text = base64.b64encode(os.urandom(KEY_BYTES)).decode()
    try:
        keep(file, text, anew=False)
    except FileExistsError:
        text = file.read_text()
    return MasterKey.of(text)


def keep(file: Path, text: str, *, anew: bool = True) -> None:
    """Write a key into a file for its owner's eyes alone: wholly or not at all, and on the disk before this returns.

    Raises FileExistsError where there is such a file and it is not to be replaced.
    """
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(number, "w") as out:
            out.write(text + "\n")
            out.flush()
            os.fsync(out.fileno())
        if anew:
            os.replace(partial, file)
        else:
            os.link(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _derived(key: bytes, purpose: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, None, purpose).derive(key)


def _named(tenant_id: int, number: int) -> bytes:
    return b"data key %d of tenant %d" % (number, tenant_id)
