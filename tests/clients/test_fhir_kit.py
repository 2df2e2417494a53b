"""A session of fhir-kit-client, the client of Node, installed from its lock into a folder of the test's."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fhir import Client
from tests.needs import needs, program

HERE = Path(__file__).parent
SESSION = "fhir_kit_session.mjs"
STEPS = 12


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the session and the packages that it stands on, exactly as locked."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", SESSION):
        shutil.copy(HERE / name, folder)
    install = [program("npm") or "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@needs("node", "npm")
async def test_every_step_of_the_session_passes(fhir: Client, token: str, installed: Path) -> None:
    reader = await fhir.token("system/Patient.r")
    told = {"FHIR_BASE": fhir.base, "FHIR_TOKEN": token, "READ_TOKEN": reader}
    node = await asyncio.create_subprocess_exec(
        program("node") or "node",
        SESSION,
        cwd=installed,
        env=os.environ | told,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(node.communicate(), 120)
    lines = [json.loads(line) for line in out.decode().splitlines()]
    steps = {line["step"]: line["failure"] for line in lines if "step" in line}
    assert {step: failure for step, failure in steps.items() if failure} == {}
    assert (node.returncode, lines[-1:], len(steps)) == (0, [{"done": True}], STEPS), err.decode()
