"""HTTP, MLLP and worker as processes of their own, against a shared database, as on several machines."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.flows.serve import CONCORD, clean_environ, concord
from tests.needs import free_port, needs, program

MESSAGE = "MSH|^~\\&|LAB|N|C|C|20260101120000+0000||ADT^A04|{id}|P|2.5.1\rPID|1||{id}^^^N^MR||Parted^Eva||19700101|F\r"


@contextmanager
def part(name: str, environ: dict[str, str], *flags: str) -> Iterator[dict[str, object]]:
    """Run one part until the block ends; give its JSON line, where it tells one."""
    process = subprocess.Popen([CONCORD, name, *flags], stdout=subprocess.PIPE, env=environ, text=True)
    assert process.stdout
    try:
        yield json.loads(process.stdout.readline()) if name != "worker" else {}
    finally:
        process.terminate()
        with process.stdout:
            assert process.wait(30) == 0


def a_message_goes_through(server_dsn: str, folder: Path, **more: str) -> None:
    """Start the three parts, send a message, and find its patient over FHIR."""
    name = f"parts-{uuid.uuid4().hex[:8]}"
    given = {"CONCORD_DATABASE_URL": server_dsn, "CONCORD_DATA_DIR": str(folder), "CONCORD_MLLP_TENANT": name} | more
    concord("tenant", "add", name, **given)
    file = folder / "message.hl7"
    file.write_text(MESSAGE.format(id=name))
    with ExitStack() as parts:
        environ = clean_environ(**given)
        http = parts.enter_context(part("http", environ, "--port", "0"))
        mllp = parts.enter_context(part("mllp", environ, "--mllp-port", "0"))
        parts.enter_context(part("worker", environ))
        concord("send", str(file), "--to", f"127.0.0.1:{mllp['mllp_port']}", **given)
        token = concord("token", "--tenant", name, CONCORD_BASE_URL=str(http["base_url"]), **given).stdout.strip()
        found = eventually_found(f"{http['base_url']}/{name}/fhir/Patient?identifier={name}", token)
    assert found["entry"][0]["resource"]["name"][0]["family"] == "Parted"


def eventually_found(url: str, token: str) -> dict[str, list[dict[str, dict[str, list[dict[str, str]]]]]]:
    """Return the bundle once it has an entry."""
    end = time.monotonic() + 60
    while True:
        answer = httpx.get(url, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text
        if "entry" in answer.json() or time.monotonic() > end:
            bundle: dict[str, list[dict[str, dict[str, list[dict[str, str]]]]]] = answer.json()
            return bundle
        time.sleep(0.05)


def test_the_parts_work_together_through_the_database_alone(server_dsn: str, tmp_path: Path) -> None:
    a_message_goes_through(server_dsn, tmp_path)


@needs("redis")
def test_the_parts_work_together_with_a_broker(server_dsn: str, tmp_path: Path) -> None:
    redis = program("redis")
    assert redis
    port = free_port()
    server = subprocess.Popen(
        [redis, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        # Looking by itself only once an hour, a Celery worker has to be woken.
        broker = {"CONCORD_BROKER_URL": f"redis://127.0.0.1:{port}/0", "CONCORD_POLL_INTERVAL": "3600"}
        a_message_goes_through(server_dsn, tmp_path, **broker)
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.parametrize("command", [("http",), ("worker",), ("mllp", "--mllp-tenant", "x"), ("check",)])
def test_a_database_that_is_away_is_told_in_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    away = f"host={tmp_path} user=nobody dbname=none"
    done = concord(*command, check=False, CONCORD_DATABASE_URL=away, CONCORD_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "database" in done.stderr + done.stdout
