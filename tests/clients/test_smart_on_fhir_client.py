"""A session of smart-on-fhir-client 1.0.4 as a backend service: it reads one Concord server and pipes to another.

What it pins does not go with this project's own dependencies, so it is installed into an environment of its own.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_server.store import tenants
from tests.clients.registered import backend, private_key
from tests.fhir import Client, running
from tests.house.tree import ROOT
from tests.postgres import EmbeddedPostgres

HERE = Path(__file__).parent
SYSTEM = "http://ids.example"
STEPS = 5


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the Python of an environment that holds the client and exactly what it was locked with."""
    folder = tmp_path_factory.mktemp("smart-on-fhir-client")
    lock = ROOT / "requirements" / "smart-on-fhir-client.txt"
    made = folder / "bin" / "python"
    run([sys.executable, "-m", "venv", str(folder)])
    run([str(made), "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "-r", str(lock)])
    return made


def run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


async def service(fhir: Client, scope: str, **other: Any) -> dict[str, Any]:
    """Register a backend service and return what the session is told of it."""
    own = private_key()
    client_id = await backend(fhir, scope, own)
    endpoint = fhir.base.removesuffix("/fhir") + "/oauth/token"
    told = {"base": fhir.base, "token_url": endpoint, "client_id": client_id, "key": own, "scope": scope}
    return told | other


async def filled(fhir: Client) -> None:
    """Store two patients and a visit of one of them."""
    for family, born in (("Ångström", "1970-03-30"), ("Müller", "1980-03-30")):
        identifier = [{"system": SYSTEM, "value": family}]
        patient = {"resourceType": "Patient", "name": [{"family": family}], "gender": "female", "birthDate": born}
        made = await fhir.post("/Patient", json={**patient, "identifier": identifier})
        assert made.status_code == 201
    visit = {"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"}}
    subject = {"reference": f"Patient/{made.json()['id']}"}
    assert (await fhir.post("/Encounter", json={**visit, "subject": subject})).status_code == 201


async def test_it_pipes_patients_from_one_server_to_another_and_is_held_to_its_registration(
    fhir: Client, postgres: EmbeddedPostgres, fresh_name: str, python: Path
) -> None:
    await filled(fhir)
    async with running(postgres.server_dsn(fresh_name)) as (second, clock), httpx.AsyncClient() as http:
        target = Client(second, clock, await tenants.add(second.db, "target"), http)
        world = {
            "source": await service(fhir, "system/*.rs"),
            "target": await service(target, "system/Patient.crus"),
            "reader": await service(fhir, "system/Patient.rs"),
            "stranger": await service(fhir, "system/*.rs", key=private_key()),
        }
        process = await asyncio.create_subprocess_exec(
            str(python),
            str(HERE / "smart_on_fhir_session.py"),
            env={"SESSION": json.dumps(world)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 120)
        told = [json.loads(line) for line in out.decode().splitlines()]
        steps = {line["step"]: line["failure"] for line in told if "step" in line}
        assert {step: failure for step, failure in steps.items() if failure} == {}
        assert (process.returncode, told[-1:], len(steps)) == (0, [{"done": True}], STEPS), err.decode()
        assert (await target.get("/Patient?_summary=count")).json()["total"] == 2
