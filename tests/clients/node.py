"""Sessions of Node's clients: their packages installed once for a whole run, and a session's steps as it tells them."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.needs import program

HERE = Path(__file__).parent
# A person at a browser: opens an address, does what is asked there, and returns where the browser ended.
Opens = Callable[[str], Awaitable[str]]
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


async def every_step_passes(
    installed: Path, session: str, told: dict[str, Any], steps: int, opens: Opens | None = None
) -> None:
    """Run a session, which prints a JSON line for each step, and hold that each passed and that it came to its end.

    A line `{"open": address}` asks for a person at a browser: `opens` returns where the browser ended.
    """
    node = await asyncio.create_subprocess_exec(
        program("node") or "node", session, cwd=installed, env=os.environ | told, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=1 << 20,
    )  # fmt: skip
    try:
        lines, err = await asyncio.wait_for(asyncio.gather(_heard(node, opens), _all(node.stderr)), 120)
        found = {line["step"]: line["failure"] for line in lines if "step" in line}
        failed = {step: failure for step, failure in found.items() if failure}
        assert not failed, failed
        assert (await node.wait(), lines[-1:], len(found)) == (0, [{"done": True}], steps), (lines, err)
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()


async def _heard(node: asyncio.subprocess.Process, opens: Opens | None) -> list[dict[str, Any]]:
    """Return what a session said, having opened for it what it asked to have opened."""
    assert node.stdout
    assert node.stdin
    said = []
    async for line in node.stdout:
        told = json.loads(line)
        said.append(told)
        if "open" in told:
            assert opens
            node.stdin.write(f"{await opens(told['open'])}\n".encode())
    return said


async def _all(stream: asyncio.StreamReader | None) -> str:
    assert stream
    return (await stream.read()).decode()
