"""Clients of a tenant as the sessions have them registered, with keys made for the test."""

from __future__ import annotations

import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from fhir_server.smart.assertion import require_jwks
from fhir_server.store import clients
from fhir_server.store.clients import Client as Registered
from tests.fhir import Client


def private_key() -> dict[str, Any]:
    """Make a private ES384 key as a JWK."""
    made = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()), as_dict=True)
    return {**made, "kid": uuid.uuid4().hex}


def public(key: dict[str, Any]) -> dict[str, Any]:
    """Return the key set that is registered: the public part of the key."""
    return require_jwks({"keys": [{name: value for name, value in key.items() if name != "d"}]})


async def backend(fhir: Client, scope: str, key: dict[str, Any]) -> str:
    """Register a backend service and return its client_id."""
    client_id = f"service-{uuid.uuid4()}"
    made = Registered(client_id, "Service", scope, public(key), fhir.clock())
    await clients.add(fhir.concord.db, fhir.tenant_id, made)
    return client_id
