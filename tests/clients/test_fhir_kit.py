"""A session of fhir-kit-client, the client of Node, installed from its lock into a folder of the tests'."""

from __future__ import annotations

from pathlib import Path

from tests.clients.node import every_step_passes
from tests.fhir import Client
from tests.needs import needs

STEPS = 12


@needs("node", "npm")
async def test_every_step_of_the_session_passes(fhir: Client, token: str, installed: Path) -> None:
    reader = await fhir.token("system/Patient.r")
    told = {"FHIR_BASE": fhir.base, "FHIR_TOKEN": token, "READ_TOKEN": reader}
    await every_step_passes(installed, "fhir_kit_session.mjs", told, STEPS)
