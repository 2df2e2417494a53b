"""A session of fhir-kit-client, the client of Node, installed from its lock into a folder of the tests'."""

from __future__ import annotations

from pathlib import Path

from tests.agreeing import answering
from tests.apps import REDIRECT, app
from tests.clients.node import every_step_passes
from tests.fhir import Client
from tests.needs import needs
from tests.signin import somebody

STEPS = 12


@needs("node", "npm")
async def test_every_step_of_the_session_passes(fhir: Client, token: str, installed: Path) -> None:
    reader = await fhir.token("system/Patient.r")
    told = {"FHIR_BASE": fhir.base, "FHIR_TOKEN": token, "READ_TOKEN": reader}
    await every_step_passes(installed, "fhir_kit_session.mjs", told, STEPS)


@needs("node", "npm")
async def test_it_finds_the_addresses_of_smart_and_reads_by_the_token_it_gets(fhir: Client, installed: Path) -> None:
    patients = [(await fhir.post("/Patient", json={"resourceType": "Patient"})).json()["id"] for _ in range(2)]
    person = await answering(fhir, await somebody(fhir, "clinic-admin"))
    told = {"FHIR_BASE": fhir.base, "CLIENT_ID": (await app(fhir)).client_id, "REDIRECT_URI": REDIRECT}
    try:
        opens = lambda url: person.agrees(url, patients[0])  # noqa: E731
        await every_step_passes(installed, "fhir_kit_smart_session.mjs", told, 2, opens)
    finally:
        await person.http.aclose()
