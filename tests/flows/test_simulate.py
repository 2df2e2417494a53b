"""concord simulate: what it sends arrives, its summary counts what came back, and files hold what would be sent."""

from __future__ import annotations

import asyncio
import json
import shlex
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.contract import Peer
from adapters.mllp import Listener
from fhir_server.cli import app
from mappings.ack import ack
from mappings.header import header
from tests.certificates import Authority

runner = CliRunner()
PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"


class Hospital:
    """A receiver in a thread of its own: it answers AA, but AR to appointments; `got` is what came."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.got: list[bytes] = []
        self.loop = asyncio.new_event_loop()
        start = Listener.start(self._take, tls=(lambda: tls) if tls else None)
        self.listener = self.loop.run_until_complete(start)
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    async def _take(self, message: bytes, peer: Peer) -> bytes | None:
        self.got.append(message)
        head = header(message)
        code = "AR" if head.message_type == "SIU" else "AA"
        return ack(head, code, f"R{len(self.got)}", datetime(2026, 3, 1, tzinfo=UTC), [])

    def close(self) -> None:
        """Stop it."""
        asyncio.run_coroutine_threadsafe(self.listener.stop(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def hospital() -> Iterator[Hospital]:
    """Give a receiver."""
    found = Hospital()
    yield found
    found.close()


def told(*argv: str, code: int = 0) -> str:
    """Run the command and return what it prints."""
    result = runner.invoke(app, ["simulate", *argv], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.stdout


def test_the_summary_counts_acknowledgements_and_times_them(hospital: Hospital, tmp_path: Path) -> None:
    record = tmp_path / "sent.jsonl"
    argv = ["--port", str(hospital.listener.port), "--count", "60", "--rate", "0", "--seed", "5", "--connections", "4"]
    summary = json.loads(told(*argv, "--patients", "9", "--json", "--record", str(record)))
    assert summary["sent"] == len(hospital.got) == 60
    assert summary["codes"]["AR"] == sum(header(m).message_type == "SIU" for m in hospital.got) > 0
    assert summary["codes"]["AA"] == 60 - summary["codes"]["AR"]
    assert 0 < summary["p50"] <= summary["p95"] <= summary["max"]
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    assert {row["control_id"] for row in rows} == {header(m).control_id for m in hospital.got}


def test_each_person_keeps_to_one_connection_so_that_order_is_kept(hospital: Hospital) -> None:
    told("--port", str(hospital.listener.port), "--count", "80", "--rate", "0", "--connections", "3", "--patients", "7")
    sent: dict[str, list[int]] = {}
    for message in hospital.got:
        patient = message.split(b"PID|1||")[1].split(b"^")[0].decode()
        sent.setdefault(patient, []).append(int(header(message).control_id.partition("-")[2]))
    assert all(numbers == sorted(numbers) for numbers in sent.values())


def test_bad_habits_reach_the_receiver(hospital: Hospital) -> None:
    summary = told(
        "--port", str(hospital.listener.port), "--count", "20", "--rate", "500", "--types", "ADT", "--split-frames",
        "--no-cr", "--junk", "--duplicates", "1", "--missing-zone",
    )  # fmt: skip
    assert "40 AA" in summary
    assert len(set(hospital.got)) == 20
    assert not any(b"+0000" in message for message in hospital.got)


def test_messages_go_by_tls_to_a_receiver_whose_certificate_is_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, key = authority.issue("simulator.example")
    context = authority.server("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    hospital = Hospital(context)
    try:
        argv = ["--port", str(hospital.listener.port), "--count", "3", "--rate", "0", "--types", "ADT", "--tls"]
        proof = ["--cert", str(ours), "--key", str(key)]
        assert "3 AA" in told(*argv, "--ca", str(authority.file), *proof)
        assert "3 unsent" in told(*argv, *proof, code=1)
        assert len(hospital.got) == 3
        told(*argv, "--ca", str(key), code=2)
    finally:
        hospital.close()


def test_files_hold_the_same_messages_for_the_same_seed_and_start(tmp_path: Path) -> None:
    argv = ["--count", "5", "--seed", "7", "--start", "2026-07-01T08:00:00", "--zone", "America/New_York"]
    told("--out", str(tmp_path / "a"), *argv)
    told("--out", str(tmp_path / "b"), *argv)
    first, second = ([f.read_bytes() for f in sorted((tmp_path / name).iterdir())] for name in "ab")
    assert first == second
    assert b"|20260701080000-0400|" in first[0]


def test_who_gets_no_answer_is_told_by_the_exit_status() -> None:
    assert "2 unsent" in told("--port", "1", "--count", "2", "--rate", "0", code=1)


@pytest.mark.parametrize("wrong", [["--types", "VXU"], ["--zone", "Mars"], ["--duplicates", "2"], ["--patients", "0"]])
def test_what_cannot_be_simulated_is_refused(wrong: list[str]) -> None:
    told(*wrong, "--out", "nowhere", code=2)


def test_the_commands_of_the_page_work_as_they_stand_there(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    block = PAGE.read_text().split("```sh\n")[1].split("```")[0]
    lines = [shlex.split(line)[2:] for line in block.splitlines()]
    assert len(lines) == 4
    for argv in lines:
        rest = (
            ["--count", "10"]
            if "--out" in argv
            else ["--port", str(hospital.listener.port), "--count", "10", "--rate", "0"]
        )
        told(*argv, *rest)
