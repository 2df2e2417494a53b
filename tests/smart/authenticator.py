"""A security key made of software: it does what the specification asks of one, and lies where a test wants it to.

https://www.w3.org/TR/webauthn-2/#sctn-authenticator-data
"""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import urlsafe_b64encode
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

_PRESENT, _WITH_CREDENTIAL = 0x01, 0x40


def text(data: bytes) -> str:
    """Return bytes as WebAuthn writes them in JSON."""
    return urlsafe_b64encode(data).decode().rstrip("=")


class Authenticator:
    """One credential; each signature counts one more."""

    def __init__(self, origin: str, host: str) -> None:
        self.origin, self.host = origin, host
        self.id, self.counter = secrets.token_bytes(16), 0
        self._key = ec.generate_private_key(ec.SECP256R1())

    def make(self, challenge: str, **lies: Any) -> str:
        """Return the answer to a request for a new credential."""
        data = self._data(_PRESENT | _WITH_CREDENTIAL, lies) + bytes(16) + len(self.id).to_bytes(2, "big") + self.id
        made = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data + self._public()})
        client = self._client("webauthn.create", challenge, lies)
        return self._answer({"clientDataJSON": text(client), "attestationObject": text(made)}, lies)

    def sign(self, challenge: str, **lies: Any) -> str:
        """Return the answer to a request for a signature."""
        self.counter += 1
        data, client = self._data(_PRESENT, lies), self._client("webauthn.get", challenge, lies)
        signature = self._key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        response = {"authenticatorData": text(data), "clientDataJSON": text(client), "signature": text(signature)}
        return self._answer(response, lies)

    def _data(self, flags: int, lies: dict[str, Any]) -> bytes:
        host = hashlib.sha256(lies.get("host", self.host).encode()).digest()
        return host + bytes([lies.get("flags", flags)]) + lies.get("counter", self.counter).to_bytes(4, "big")

    def _client(self, kind: str, challenge: str, lies: dict[str, Any]) -> bytes:
        said = {"type": lies.get("type", kind), "challenge": challenge, "origin": lies.get("origin", self.origin)}
        return json.dumps(said).encode()

    def _public(self) -> bytes:
        numbers = self._key.public_key().public_numbers()
        x, y = (n.to_bytes(32, "big") for n in (numbers.x, numbers.y))
        return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: x, -3: y})

    def _answer(self, response: dict[str, str], lies: dict[str, Any]) -> str:
        name = text(lies.get("id", self.id))
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})
