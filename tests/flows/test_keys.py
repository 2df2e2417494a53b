"""Keys are changed while a server serves; what was encrypted before stays readable, and a lost key is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from fhir_server.store.embedded import connection_of
from tests.flows.serve import Serve, concord


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serve]:
    """Give a running server with a tenant `demo` and two versions of a patient."""
    found = Serve(tmp_path / "data", "--demo")
    for active in (True, False):
        body = {"resourceType": "Patient", "id": "k", "active": active}
        assert asked(found, "PUT", "/Patient/k", json=body).is_success
    yield found
    if found.process.poll() is None:
        found.stop()


def keys(server: Serve, *argv: str, check: bool = True) -> str:
    """Return what a command prints, on standard error too."""
    done = concord("keys", *argv, "--data-dir", str(server.folder), check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def heads(server: Serve) -> set[bytes]:
    """Return codec and key numbers of all bodies of the demo, current and old."""
    found = connection_of(server.folder)
    assert found
    sql = b"select substring(body from 1 for 5) from {} where body is not null"
    with psycopg.connect(found.admin_dsn()) as admin:
        tables = (b"resource", b"resource_history")
        return {bytes(head) for table in tables for (head,) in admin.execute(sql.replace(b"{}", table))}


def asked(server: Serve, method: str, path: str, **more: object) -> httpx.Response:
    """Send a request to the demo's records."""
    headers = {"authorization": f"Bearer {server.token()}"}
    return httpx.request(method, f"{server.http}/demo/fhir{path}", headers=headers, timeout=60, **more)  # type: ignore[arg-type]


def test_a_data_key_is_changed_and_what_is_stored_is_encrypted_anew_if_asked_for(server: Serve) -> None:
    assert heads(server) == {b"\1\0\0\0\1"}
    assert "data key 2 is in use" in keys(server, "rotate", "--tenant", "demo")
    assert b"\1\0\0\0\1" in heads(server)
    assert asked(server, "GET", "/Patient/k/_history/1").json()["active"] is True
    told = keys(server, "rotate", "--tenant", "demo", "--rewrite")
    assert "encrypted anew" in told
    assert heads(server) == {b"\1\0\0\0\3"}
    assert "demo: 0 versions" in keys(server, "rewrite", "--tenant", "demo")
    assert asked(server, "GET", "/Patient/k").json()["active"] is False
    assert asked(server, "GET", "/Patient/k/_history/1").json()["active"] is True
    status = keys(server, "status").splitlines()
    assert next(line for line in status if line.strip().startswith("demo")).split()[:3] == ["demo", "3", "3"]


def test_a_master_key_is_changed_and_the_old_one_opens_nothing_more(server: Serve) -> None:
    file = server.folder / "master.key"
    before = file.read_text()
    assert "wrapped by the new master key" in keys(server, "rotate-master")
    after = file.read_text()
    assert after != before
    assert file.stat().st_mode & 0o777 == 0o600
    # The server that runs has the data keys, and goes on.
    assert asked(server, "GET", "/Patient/k").json()["active"] is False
    assert server.stop() == 0
    file.write_text(before)
    told = concord("keys", "status", "--data-dir", str(server.folder), check=False)
    assert (told.returncode, "not the one" in told.stderr) == (1, True)
    # Cut short before the new key had its name, the change is brought to its end.
    (server.folder / "master.key.next").write_text(after)
    again = Serve(server.folder)
    assert file.read_text() == after
    assert asked(again, "GET", "/Patient/k/_history/1").json()["active"] is True
    assert again.stop() == 0
    file.unlink()
    lost = concord("check", "--data-dir", str(server.folder), check=False)
    assert lost.returncode == 1
    assert "no master key" in lost.stdout + lost.stderr
    file.write_text(after)


async def test_another_master_key_and_unusable_ones_are_refused(server: Serve, tmp_path: Path) -> None:
    for name, text, said in (("short", "c2hvcnQ=", "bytes"), ("none", None, "there is no file")):
        file = tmp_path / name
        if text is not None:
            file.write_text(text)
        argv = ("rotate-master", "--new-key-file", str(file))
        assert said in await asyncio.to_thread(keys, server, *argv, check=False)
