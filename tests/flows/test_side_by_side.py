"""Version N and the one before, N−1, serve one database side by side, migrated to N's schema."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from adapters.mllp import Sender
from fhir_server.app import opened
from fhir_server.commands.send import answered
from fhir_server.settings import Settings
from fhir_server.smart.tokens import mint
from fhir_server.store import keys, tenants
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from tests.flows.serve import CONCORD, clean_environ
from tests.loss.senders import Letter
from tests.loss.verdict import verdict
from tests.previous import unpacked

BASE = "http://concord.example.org"


class Version:
    """The parts of one version, started when asked for."""

    def __init__(self, stack: ExitStack, environ: dict[str, str], log: Path) -> None:
        self._stack, self._environ, self._log = stack, environ, log
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str, *flags: str) -> None:
        """Start a part; its port is there when it is first asked for."""
        log = self._stack.enter_context(self._log.open("a"))
        argv = [CONCORD, name, *flags]
        self._processes[name] = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=log, env=self._environ, text=True, cwd=self._log.parent
        )
        self._stack.callback(self.stop, name)

    def port(self, name: str) -> int:
        """Return where http or mllp listens."""
        out = self._processes[name].stdout
        assert out
        ports: dict[str, Any] = msgspec.json.decode(out.readline())
        return int(ports[f"{name}_port"])

    def stop(self, name: str) -> None:
        """Stop a part as an operator does."""
        process = self._processes[name]
        process.terminate()
        if process.stdout and not process.stdout.closed:
            process.stdout.close()
        assert process.wait(60) == 0


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of N−1's code."""
    return unpacked(tmp_path_factory.mktemp("before"))


async def token_of_a_new_tenant(dsn: str) -> str:
    """Make the tenant `loss`, and return a token of it that both versions know."""
    async with opened(Settings.load(env="test", base_url=BASE), dsn) as concord:
        tenant = await tenants.add(concord.db, "loss")
        key = await keys.active(concord.db, tenant.id)
        given = {"scope": "system/*.cruds", "subject": "tester", "client": "tests", "lifetime": timedelta(hours=1)}
        return mint(key, concord.base(tenant), concord.clock(), tenant=tenant, **given)


@contextmanager
def versions(dsn: str, old_code: Path, folder: Path) -> Iterator[tuple[Version, Version]]:
    """Give N−1 and N on one database."""
    given = {
        "CONCORD_DATABASE_URL": dsn,
        "CONCORD_DATA_DIR": str(folder),
        "CONCORD_MLLP_TENANT": "loss",
        "CONCORD_BASE_URL": BASE,
        "CONCORD_LOG_LEVEL": "warning",
        "CONCORD_POLL_INTERVAL": "0.5",
    }
    environ = clean_environ(**given)
    with ExitStack() as stack:
        old = Version(stack, environ | {"PYTHONPATH": str(old_code)}, folder / "old.log")
        new = Version(stack, environ, folder / "new.log")
        for version in (old, new):
            version.start("mllp", "--mllp-port", "0")
            version.start("http", "--port", "0")
        yield old, new


async def sent(senders: list[Sender], letters: list[Letter]) -> None:
    """Send letters in order, each by the next sender."""
    for n, letter in enumerate(letters):
        assert answered(await senders[n % len(senders)].send(letter.text()))[0] == "AA"


async def until_worked(db: Database) -> None:
    """Wait until nothing waits."""
    async with asyncio.timeout(180):
        while await db.fetch(None, "select 1 from job_ticket limit 1"):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def fhir(port: int, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of one version's FHIR."""
    headers = {"authorization": f"Bearer {token}", "content-type": "application/fhir+json"}
    base = f"http://127.0.0.1:{port}/loss/fhir"
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=120) as client:
        yield client


async def test_each_version_works_what_the_other_took_and_changes_what_the_other_wrote(
    postgres: EmbeddedPostgres, fresh_name: str, fresh_database: Database, old_code: Path, tmp_path: Path
) -> None:
    dsn = postgres.server_dsn(fresh_name)
    letters = [Letter("K0x0", n) for n in range(24)]
    token = await token_of_a_new_tenant(dsn)
    with versions(dsn, old_code, tmp_path) as (old, new):
        doors = [Sender("127.0.0.1", version.port("mllp"), answer=60) for version in (old, new)]
        old.start("worker")
        await sent(doors[1:], letters[:8])
        await until_worked(fresh_database)  # by N−1, what N took
        new.start("worker")
        await sent(doors, letters[8:16])
        await until_worked(fresh_database)  # by whoever was first
        old.stop("worker")
        await sent(doors[:1], letters[16:])
        await until_worked(fresh_database)  # by N, what N−1 took
        for door in doors:
            await door.close()
        found = await verdict(dsn, letters)
        assert found.clean, found
        async with fhir(old.port("http"), token) as before, fhir(new.port("http"), token) as after:
            await written_in_turn(before, after)
            await written_in_turn(after, before)


async def written_in_turn(first: httpx.AsyncClient, second: httpx.AsyncClient) -> None:
    """Create by the one, read, search and update by the other, read again and delete by the first."""
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:turn", "value": "1"}]}
    made = await first.post("/Patient", json=patient)
    assert made.status_code == 201, made.text
    id_ = made.json()["id"]
    assert (await second.get("/Patient", params={"identifier": "urn:turn|1"})).json()["entry"][0]["resource"] == (
        await second.get(f"/Patient/{id_}")
    ).json()
    changed = patient | {"id": id_, "active": True}
    updated = await second.put(f"/Patient/{id_}", json=changed, headers={"if-match": 'W/"1"'})
    assert updated.status_code == 200, updated.text
    history = (await first.get(f"/Patient/{id_}/_history")).json()
    assert [entry["resource"]["meta"]["versionId"] for entry in history["entry"]] == ["2", "1"]
    assert (await first.delete(f"/Patient/{id_}")).status_code in (200, 204)
    assert (await second.get(f"/Patient/{id_}")).status_code == 410
