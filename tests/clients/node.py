"""Sessions of Node's clients: their packages installed once for a whole run, and a session's steps as it tells them."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.needs import program

HERE = Path(__file__).parent
# fhirclient names packages of React Native among its peers and options: hundreds of megabytes that no browser needs.
_INSTALL = ("ci", "--ignore-scripts", "--legacy-peer-deps", "--omit=optional", "--no-audit", "--no-fund")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the sessions and, in node_modules, the packages that they stand on, exactly as locked."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "node"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _install(folder)
            (folder / "done").touch()
    return folder


def _install(folder: Path) -> None:
    for file in (HERE / "package.json", HERE / "package-lock.json", *HERE.glob("*.mjs")):
        shutil.copy(file, folder)
    argv = [program("npm") or "npm", *_INSTALL, "--no-update-notifier"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


async def every_step_passes(installed: Path, session: str, told: dict[str, Any], steps: int) -> None:
    """Run a session, which prints a JSON line for each step, and hold that each passed and that it came to its end."""
    node = await asyncio.create_subprocess_exec(
        program("node") or "node",
        session,
        cwd=installed,
        env=os.environ | told,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(node.communicate(), 120)
    lines = [json.loads(line) for line in out.decode().splitlines()]
    found = {line["step"]: line["failure"] for line in lines if "step" in line}
    assert {step: failure for step, failure in found.items() if failure} == {}
    assert (node.returncode, lines[-1:], len(found)) == (0, [{"done": True}], steps), err.decode()
