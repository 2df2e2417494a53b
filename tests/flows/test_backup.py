"""A backup that was taken under load becomes a server that has all that was acknowledged before its moment."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from adapters.mllp import NoAnswer, Sender
from tests.flows.serve import Serve, concord, left_behind
from tests.flows.test_kill import TEMPLATE

LEAST = 40
CANARY = "Kanarienvogel"


class Load:
    """Writers that go on until they are stopped, and what each was told was done, with the moment."""

    def __init__(self, server: Serve, http: httpx.AsyncClient) -> None:
        self.server, self.http = server, http
        self.patients: dict[str, datetime] = {}
        self.scans: dict[str, datetime] = {}
        self.messages: dict[str, datetime] = {}
        self._stopping = False

    def run(self) -> list[asyncio.Task[None]]:
        """Start the writers."""
        self._sender = Sender("127.0.0.1", self.server.ready["mllp_port"], connect=5, answer=30)
        works = (self._patient, self._scan, self._message)
        return [asyncio.create_task(self._each(work)) for work in works]

    async def stop(self, tasks: list[asyncio.Task[None]]) -> None:
        """Let the writers end."""
        self._stopping = True
        await asyncio.gather(*tasks)
        await self._sender.close()

    async def under_way(self) -> None:
        """Wait until much was acknowledged of each kind."""
        async with asyncio.timeout(120):
            while min(len(self.patients), len(self.scans), len(self.messages)) < LEAST:
                await asyncio.sleep(0.02)

    async def _each(self, work: Callable[[int], Awaitable[None]]) -> None:
        number = 0
        while not self._stopping:
            await work(number)
            number += 1

    async def _patient(self, number: int) -> None:
        body = {"resourceType": "Patient", "id": f"p{number}", "name": [{"text": CANARY}]}
        answer = await self.http.put(f"{self.server.http}/demo/fhir/Patient/p{number}", json=body)
        assert answer.status_code == 201, answer.text
        self.patients[f"p{number}"] = datetime.now(UTC)

    async def _scan(self, number: int) -> None:
        headers = {"content-type": "image/png"}
        place = f"{self.server.http}/demo/fhir/Binary/b{number}"
        answer = await self.http.put(place, content=scan(f"b{number}"), headers=headers)
        assert answer.status_code == 201, answer.text
        self.scans[f"b{number}"] = datetime.now(UTC)

    async def _message(self, number: int) -> None:
        try:
            answer = await self._sender.send(TEMPLATE.format(n=number, d=number % 10).encode())
        except (NoAnswer, OSError, TimeoutError):
            return
        if b"MSA|AA" in answer:
            self.messages[f"F{number}"] = datetime.now(UTC)


def scan(name: str) -> bytes:
    """Return a document that no other is like."""
    return f"{CANARY} {name} ".encode() * 8000


def before(moment: datetime, done: dict[str, datetime]) -> set[str]:
    """Return what was acknowledged before a moment."""
    return {name for name, at in done.items() if at < moment}


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Load]]:
    """Give a backup that was taken under load, and what was acknowledged."""
    folder = tmp_path_factory.mktemp("backup")
    server = Serve(folder / "data", "--demo")

    async def work() -> Load:
        headers = {"authorization": f"Bearer {await asyncio.to_thread(server.token)}"}
        async with httpx.AsyncClient(headers=headers, timeout=60) as http:
            load = Load(server, http)
            tasks = load.run()
            await load.under_way()
            done = await asyncio.to_thread(concord, "backup", str(folder / "day"), "--data-dir", str(folder / "data"))
            assert "taken; " in done.stdout
            await load.stop(tasks)
        return load

    try:
        yield folder, asyncio.run(work())
    finally:
        if server.process.poll() is None:
            server.stop()


async def there(server: Serve, load: Load, moment: datetime) -> None:
    """Assert that a server has all that was acknowledged before a moment."""
    headers = {"authorization": f"Bearer {await asyncio.to_thread(server.token)}"}
    async with httpx.AsyncClient(headers=headers, timeout=60, base_url=f"{server.http}/demo/fhir") as http:
        for name in before(moment, load.patients):
            assert CANARY in (await http.get(f"/Patient/{name}")).text, name
        for name in before(moment, load.scans):
            assert (await http.get(f"/Binary/{name}", headers={"accept": "image/png"})).content == scan(name), name
        for name in before(moment, load.messages):
            async with asyncio.timeout(120):
                while not (await http.get(f"/DiagnosticReport?identifier={name}")).json().get("entry"):
                    await asyncio.sleep(0.1)
        made = await http.put("/Patient/p0", json={"resourceType": "Patient", "id": "p0", "active": True})
        assert made.json()["meta"]["versionId"] == "2"


async def test_a_backup_under_load_restores_to_a_server_that_has_all_that_was_acknowledged(
    taken: tuple[Path, Load], tmp_path: Path
) -> None:
    folder, load = taken
    moment = datetime.fromisoformat(json.loads((folder / "day" / "manifest.json").read_text())["moment"])
    for done in (load.patients, load.scans, load.messages):
        assert len(before(moment, done)) >= LEAST
    new = tmp_path / "restored"
    assert "verified; " in concord("verify", str(folder / "day")).stdout
    told = concord("restore", str(folder / "day"), "--data-dir", str(new)).stdout
    assert "put its master key into" in told
    shutil.copy(folder / "data" / "master.key", new / "master.key")
    checked = concord("check", "--data-dir", str(new), check=False)
    assert checked.returncode == 0, checked.stdout
    server = await asyncio.to_thread(Serve, new)
    try:
        await there(server, load, moment)
    finally:
        assert await asyncio.to_thread(server.stop) == 0
    # Both clusters count their transactions for themselves, and the chain of the audit goes on.
    for command in ("seal", "verify"):
        chained = concord("audit", command, "--tenant", "demo", "--data-dir", str(new), check=False)
        assert chained.returncode == 0, chained.stdout
    assert "whole: " in chained.stdout
    assert left_behind(new) == []


def test_a_backup_tells_nothing_without_the_master_key(taken: tuple[Path, Load]) -> None:
    folder, _ = taken
    key = (folder / "data" / "master.key").read_bytes().strip()
    for file in (folder / "day").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert CANARY.encode() not in content
            assert key not in content
            assert file.name != "master.key"


def copied(taken: tuple[Path, Load], tmp_path: Path) -> Path:
    """Return a backup of the test's own."""
    return Path(shutil.copytree(taken[0] / "day", tmp_path / "copy"))


def test_what_was_changed_in_a_backup_is_found_and_never_restored(taken: tuple[Path, Load], tmp_path: Path) -> None:
    backup = copied(taken, tmp_path)
    document = next(path for path in (backup / "documents").rglob("*") if path.is_file())
    for file in (backup / "database.dump", backup / "documents.jsonl", document):
        whole = file.read_bytes()
        for changed in (whole[:-1], whole[:100] + b"x" + whole[101:]):
            file.write_bytes(changed)
            verified = concord("verify", str(backup), check=False)
            restored = concord("restore", str(backup), "--data-dir", str(tmp_path / "new"), check=False)
            assert verified.returncode == restored.returncode == 1
            assert "is not as it was written" in verified.stderr
        file.write_bytes(whole)
    document.unlink()
    assert concord("verify", str(backup), check=False).returncode == 1
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten_by_a_backup_or_a_restore(taken: tuple[Path, Load], tmp_path: Path) -> None:
    folder, _ = taken
    again = concord("backup", str(folder / "day"), "--data-dir", str(folder / "data"), check=False)
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "something").write_text("kept")
    into = concord("restore", str(folder / "day"), "--data-dir", str(tmp_path / "used"), check=False)
    assert (into.returncode, "is not empty" in into.stderr) == (1, True)
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["something"]
    none = concord("backup", str(tmp_path / "new"), "--data-dir", str(tmp_path / "nowhere"), check=False)
    assert (none.returncode, "there is no installation" in none.stderr) == (1, True)
    assert "is no backup" in concord("verify", str(tmp_path / "used"), check=False).stderr


def test_another_master_key_is_refused_before_anything_is_made(taken: tuple[Path, Load], tmp_path: Path) -> None:
    wrong = "A" * 43 + "="
    told = concord(
        "restore", str(taken[0] / "day"), "--data-dir", str(tmp_path / "new"), check=False, CONCORD_MASTER_KEY=wrong
    )
    assert (told.returncode, "not the one" in told.stderr) == (1, True)
    assert not list(tmp_path.iterdir())


def test_a_backup_that_lacks_a_document_fails_and_leaves_nothing(taken: tuple[Path, Load], tmp_path: Path) -> None:
    folder, _ = taken
    elsewhere = (tmp_path / "elsewhere").as_uri()
    told = concord(
        "backup", str(tmp_path / "day"), "--data-dir", str(folder / "data"), check=False, CONCORD_OBJECT_STORE=elsewhere
    )
    assert (told.returncode, "is not in the object store" in told.stderr) == (1, True)
    assert not list(tmp_path.glob("day*"))
    assert not list(tmp_path.glob(".day*"))
