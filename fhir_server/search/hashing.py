"""The 64-bit keys under which tokens, references and URIs stand in the index.

https://www.rfc-editor.org/rfc/rfc7693 (BLAKE2, keyed)

A key is the hash of a value XOR the salt of a parameter (tenant, type and code): one value's hash serves every
parameter that indexes it, and a reference's key XOR its salt gives back the `self_key` of its target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b

_BYTES = 8
# Separates the parts of what is hashed; FHIR strings cannot hold it.
_CUT = "\0"
# Stands where no part is given, so that "any system" and "no system" differ.
_ANY = "\1"


class Hasher:
    """Hashes with the installation's secret: without one, two values could be made to share a key on purpose.

    Every method returns a signed 64-bit integer. The latest hashes are remembered, since codes repeat in every message.
    """

    def __init__(self, secret: bytes, remembered: int = 16384) -> None:
        if not secret:
            raise ValueError("hashing needs the installation's secret")
        key = blake2b(secret, digest_size=32, person=b"concord-keys").digest()
        self._started = blake2b(key=key, digest_size=_BYTES)
        remember = lru_cache(maxsize=remembered)
        self.token_hash: Callable[[str | None, str | None], int] = remember(self._token_hash)
        self.self_key: Callable[[int, str, str], int] = remember(self._self_key)
        self.salt: Callable[[int, str, str], int] = remember(self._salt)

    def token(self, tenant_id: int, resource_type: str, param: str, system: str | None, code: str | None) -> int:
        """Return the key of a token; a system of None stands for any, of "" for none given; a code of None for any."""
        return self.token_hash(system, code) ^ self.salt(tenant_id, resource_type, param)

    def uri(self, tenant_id: int, resource_type: str, param: str, value: str) -> int:
        """Return the key of a URI, or of a reference that leads out of this server."""
        return self.uri_hash(value) ^ self.salt(tenant_id, resource_type, param)

    def reference(self, tenant_id: int, resource_type: str, param: str, target_type: str, target_id: str) -> int:
        """Return the key of a reference to a resource of the same tenant."""
        return self.self_key(tenant_id, target_type, target_id) ^ self.salt(tenant_id, resource_type, param)

    def uri_hash(self, value: str) -> int:
        """Return the hash of a URI, before any salt."""
        return self._hash("u" + value)

    def together(self, name: str, parts: Iterable[object]) -> int:
        """Return the hash of several values that stand in one element, before any salt."""
        return self._hash("c" + _CUT.join((name, *map(str, parts))))

    def _token_hash(self, system: str | None, code: str | None) -> int:
        """Return the hash of a system and a code, before any salt."""
        return self._hash(f"t{_ANY if system is None else system}{_CUT}{_ANY if code is None else code}")

    def _self_key(self, tenant_id: int, resource_type: str, resource_id: str) -> int:
        """Return the key of a resource itself, unique in the installation."""
        return self._hash(f"r{tenant_id}{_CUT}{resource_type}{_CUT}{resource_id}")

    def _salt(self, tenant_id: int, resource_type: str, param: str) -> int:
        """Return the salt of a parameter of a type in a tenant."""
        return self._hash(f"s{tenant_id}{_CUT}{resource_type}{_CUT}{param}")

    def _hash(self, text: str) -> int:
        state = self._started.copy()
        state.update(text.encode())
        return int.from_bytes(state.digest(), "big", signed=True)


def param_id(resource_type: str, code: str) -> int:
    """Return the number (int4) of a parameter in the narrow tables: the same in every installation, for ever."""
    digest = blake2b(f"{resource_type}{_CUT}{code}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big", signed=True)
