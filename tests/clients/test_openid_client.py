"""Sessions of openid-client, a certified OpenID Connect client for Node that knows nothing of FHIR."""

from __future__ import annotations

import json
from pathlib import Path

from tests.clients.node import every_step_passes
from tests.clients.registered import backend, private_key
from tests.fhir import Client
from tests.needs import needs


@needs("node", "npm")
async def test_a_backend_service_gets_tokens_by_its_key(fhir: Client, installed: Path) -> None:
    key = private_key()
    client_id = await backend(fhir, "system/Patient.rs", key)
    told = {"FHIR_BASE": fhir.base, "CLIENT_ID": client_id, "KEY": json.dumps(key)}
    await every_step_passes(installed, "openid_backend_session.mjs", told, 4)
