"""kill -9 of the processes that take files, at random moments: every message comes in once, every file is put away."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.world import adt
from tests.flows.serve import CONCORD, clean_environ, concord

FILES, MESSAGES, KILLS = 20, 20, 3


class Installation:
    """A database of the test's own, a folder, and workers that are started and killed."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn, self.folder = dsn, folder
        self.drop = folder / "drop" / "north" / "lab"
        self.drop.mkdir(parents=True)
        self.settings = {
            "CONCORD_DATABASE_URL": dsn,
            "CONCORD_DATA_DIR": str(folder / "data"),
            "CONCORD_FOLDERS": str(folder / "drop"),
            "CONCORD_POLL_HOLD_SECONDS": "1",
        }
        concord("tenant", "add", "north", **self.settings)
        source = {"kind": "folder", "path": "lab", "settle": 0, "every": 0.05}
        (folder / "lab.json").write_text(json.dumps({"name": "lab", "source": source}))
        concord("channel", "apply", str(folder / "lab.json"), "--tenant", "north", **self.settings)

    def worker(self) -> subprocess.Popen[bytes]:
        with (self.folder / "worker.log").open("ab") as log:
            return subprocess.Popen([CONCORD, "worker"], env=clean_environ(**self.settings), stdout=log, stderr=log)

    def leave(self, number: int) -> None:
        """Leave a file as senders do: under another name until it is complete."""
        body = b"".join(adt(f"F{number}M{m}", patient=str(m)) for m in range(MESSAGES))
        name = self.drop / f"{number:03} of März.hl7"
        name.with_suffix(".tmp").write_bytes(b"BHS|^~\\&|A\r" + body + f"BTS|{MESSAGES}\r".encode())
        os.rename(name.with_suffix(".tmp"), name)

    def put_away(self) -> int:
        done = self.drop / "done"
        return sum(1 for name in os.listdir(done) if name.endswith(".hl7")) if done.is_dir() else 0


@pytest.fixture
def installation(fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path) -> Installation:
    return Installation(postgres.server_dsn(fresh_name), tmp_path)


def test_every_message_of_every_file_comes_in_once(
    installation: Installation, fresh_name: str, postgres: EmbeddedPostgres
) -> None:
    moments = random.Random(8)
    workers = [installation.worker(), installation.worker()]
    try:
        for number in range(FILES):
            installation.leave(number)
        for kill in range(KILLS):
            wait_for(lambda least=FILES * kill // KILLS: installation.put_away() > least)  # type: ignore[misc]
            time.sleep(moments.random() / 20)
            for victim in workers if kill == 1 else workers[:1]:
                victim.send_signal(signal.SIGKILL)
                victim.wait()
            workers = [worker if worker.poll() is None else installation.worker() for worker in workers][::-1]
        wait_for(lambda: installation.put_away() == FILES)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    with psycopg.connect(postgres.admin_dsn(fresh_name)) as admin:
        rows = admin.execute("select control_id, count(*) from inbox where state <> 'rejected' group by 1").fetchall()
    assert {name: count for name, count in rows if count != 1} == {}
    assert {name for name, _ in rows} == {f"F{f}M{m}" for f in range(FILES) for m in range(MESSAGES)}
    assert_nothing_is_left(installation)


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until it holds."""
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def assert_nothing_is_left(installation: Installation) -> None:
    """Every file lies in `done` with an answer that accepts each of its messages."""
    assert sorted(os.listdir(installation.drop)) == ["done", "failed", "work"]
    assert os.listdir(installation.drop / "failed") == []
    assert [name for name in os.listdir(installation.drop / "work") if not name.endswith(".part")] == []
    reports = [path.read_text() for path in (installation.drop / "done").iterdir() if path.name.endswith(".ack")]
    assert len(reports) == FILES
    assert {report.count("MSA|AA|") for report in reports} == {MESSAGES}
