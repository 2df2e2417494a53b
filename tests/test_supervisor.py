"""The supervisor with real processes: nothing outlives it, what dies comes back, what will not stay up stops all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CHILD = """
import asyncio, os, sys
from fhir_server import life
async def main(name, log, pipe, slow):
    stop = asyncio.Event()
    life.watch(stop.set, int(pipe), grace=2)
    with open(log, "a") as file: file.write(f"start {name} {os.getpid()}\\n")
    if slow == "hang":
        import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True: __import__("time").sleep(60)
    await stop.wait()
    await asyncio.sleep(float(slow))
    with open(log, "a") as file: file.write(f"stop {name} {os.getpid()}\\n")
asyncio.run(main(*sys.argv[1:]))
"""
SUPERVISOR = """
import asyncio, json, os, sys
from fhir_server.supervisor import ChildSpec, Patience, Supervisor
order = json.loads(sys.argv[1])
watch = (lambda: "gone" if os.path.exists(order["gone"]) else None) if "gone" in order else None
async def main():
    children = [ChildSpec(c["name"], c["argv"], stage=c.get("stage", 0)) for c in order["children"]]
    patience = Patience(first=0.02, grace=order.get("grace", 5), look=0.02)
    return await Supervisor(children, patience=patience, watch=watch).run()
sys.exit(asyncio.run(main()))
"""


class Run:
    """A supervisor in a process of its own, and the file in which its children write."""

    def __init__(self, tmp_path: Path) -> None:
        self.log = tmp_path / "log"
        self.log.touch()
        self.child = tmp_path / "child.py"
        self.child.write_text(CHILD)
        self.process: subprocess.Popen[bytes]

    def spec(self, name: str, slow: float | str = 0, **more: Any) -> dict[str, Any]:
        argv = [sys.executable, str(self.child), name, str(self.log), "{life}", str(slow)]
        return {"name": name, "argv": argv, **more}

    def start(self, *children: dict[str, Any], **order: Any) -> None:
        argv = [sys.executable, "-c", textwrap.dedent(SUPERVISOR), json.dumps({"children": children, **order})]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(argv, env=env, start_new_session=True, stderr=subprocess.DEVNULL)

    def lines(self, kind: str) -> list[tuple[str, int]]:
        words = [line.split() for line in self.log.read_text().splitlines()]
        return [(w[1], int(w[2])) for w in words if len(w) == 3 and w[0] == kind]

    def pids(self, count: int) -> list[int]:
        eventually(lambda: len(self.lines("start")) >= count)
        return [pid for _, pid in self.lines("start")]


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def eventually(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.01)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    if run.process.poll() is None:
        run.process.kill()
        run.process.wait()
    for _, pid in run.lines("start"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_exits_with_0_and_leaves_nothing(run: Run, number: signal.Signals) -> None:
    run.start(run.spec("http"), run.spec("mllp"), run.spec("worker", stage=1))
    pids = run.pids(3)
    run.process.send_signal(number)
    assert run.process.wait(20) == 0
    assert not any(map(alive, pids))
    assert sorted(name for name, _ in run.lines("stop")) == ["http", "mllp", "worker"]


def test_doors_have_stopped_before_the_worker_is_told_to(run: Run) -> None:
    run.start(run.spec("worker", stage=1), run.spec("http", slow=0.3), run.spec("mllp"))
    run.pids(3)
    run.process.send_signal(signal.SIGINT)
    run.process.wait(20)
    names = [name for name, _ in run.lines("stop")]
    assert (set(names[:2]), names[2:]) == ({"http", "mllp"}, ["worker"])


def test_kill_9_of_the_supervisor_leaves_nothing(run: Run) -> None:
    run.start(run.spec("http"), run.spec("worker", stage=1))
    pids = run.pids(2)
    run.process.kill()
    eventually(lambda: not any(map(alive, pids)))
    assert len(run.lines("stop")) == 2


def test_kill_9_of_the_supervisor_leaves_not_even_a_child_that_hangs(run: Run) -> None:
    run.start(run.spec("http", slow="hang"))
    (pid,) = run.pids(1)
    run.process.kill()
    eventually(lambda: not alive(pid))


def test_a_child_killed_is_started_again_and_the_others_are_left_alone(run: Run) -> None:
    run.start(run.spec("http"), run.spec("worker", stage=1))
    run.pids(2)
    first = dict(run.lines("start"))
    os.kill(first["http"], signal.SIGKILL)
    run.pids(3)
    assert [name for name, _ in run.lines("start")].count("http") == 2
    assert alive(first["worker"])
    assert run.process.poll() is None


def test_a_child_that_will_not_stay_up_stops_all_with_exit_1(run: Run) -> None:
    run.start(run.spec("worker"), {"name": "bad", "argv": [sys.executable, "-c", "raise SystemExit(3)"]})
    assert run.process.wait(30) == 1
    assert not any(alive(pid) for _, pid in run.lines("start"))


def test_a_program_that_is_not_there_stops_all_with_exit_1(run: Run) -> None:
    run.start({"name": "bad", "argv": ["/no/such/program"]})
    assert run.process.wait(30) == 1


def test_a_child_deaf_to_sigterm_is_killed_after_its_grace(run: Run) -> None:
    run.start(run.spec("http", slow="hang"), grace=0.3)
    (pid,) = run.pids(1)
    time.sleep(0.2)
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(20) == 0
    assert not alive(pid)


def test_a_second_ctrl_c_kills_what_is_left(run: Run) -> None:
    run.start(run.spec("http", slow="hang"), grace=300)
    (pid,) = run.pids(1)
    time.sleep(0.2)
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert run.process.poll() is None
    for _ in range(4):  # two that come before it looks are one, so another may be needed
        run.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert run.process.wait(10) == 0
            break
    assert not alive(pid)


def test_when_what_it_watches_is_gone_it_exits_with_1_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    run.start(run.spec("http"), gone=str(tmp_path / "gone"))
    pids = run.pids(1)
    (tmp_path / "gone").touch()
    assert run.process.wait(20) == 1
    assert not any(map(alive, pids))
