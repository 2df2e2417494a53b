"""The PostgreSQL process: started as our child, found again when it was left behind, and always stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from fhir_server.store.embedded_account import Account, EmbeddedError

# What PostgreSQL makes of a signal: https://www.postgresql.org/docs/18/server-shutdown.html
FAST, IMMEDIATE, KILL = signal.SIGINT, signal.SIGQUIT, signal.SIGKILL
_LAUNCH = Path(__file__).with_name("embedded_launch.py")
_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}

# What PostgreSQL or the system says, and what to do about it.
ADVICE = (
    ("No space left on device", "the disk is full: make room and start again"),
    ("Permission denied", "check the owner and the mode of the data folder"),
    ("Read-only file system", "the data folder is on a read-only disk"),
    ("could not create shared memory", "this machine gives no shared memory: raise its limit"),
    ("has wrong ownership", "the data folder must belong to the user that PostgreSQL runs under"),
    ("incorrect checksum in control file", "the data is damaged: restore a backup"),
    ("invalid data in file", "the data is damaged: restore a backup"),
    ("not a valid data directory", "the data is damaged: restore a backup"),
    ("could not read file", "the data is damaged: restore a backup"),
    ("could not locate a valid checkpoint", "the data is damaged: restore a backup"),
    (
        "files are incompatible with server",
        "the data was made by another major version: dump it there, restore it here",
    ),
)


class Launch(msgspec.Struct, frozen=True):
    """How programs are run: by whom, and which folders are handed over open because their user cannot reach them."""

    account: Account
    folders: dict[str, str] = {}

    def command(self, *argv: str | Path, death: signal.Signals = KILL) -> list[str]:
        """Return the command line that gives up root, asks for the parent-death signal and becomes `argv`."""
        drop = [self.account.uid, self.account.gid] if self.account.uid != os.geteuid() else None
        order = {"parent": os.getpid(), "signal": int(death), "account": drop, "folders": self.folders}
        words = json.dumps(order | {"argv": [str(word) for word in argv]})
        return [sys.executable, "-I", "-S", str(_LAUNCH), words]


def run(launch: Launch, *argv: str | Path) -> None:
    """Run a program to its end. Raises EmbeddedError with what it said."""
    done = subprocess.run(  # noqa: S603 - no shell, our own words
        launch.command(*argv), stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_ENVIRONMENT, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise EmbeddedError(f"{Path(argv[0]).name} failed ({done.returncode}): {advised(said)}")


def spawn(launch: Launch, argv: Sequence[str | Path], log: BinaryIO) -> subprocess.Popen[bytes]:
    """Start PostgreSQL as a direct child that stops by itself when the calling thread dies."""
    command = launch.command(*argv, death=FAST)
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_ENVIRONMENT)  # noqa: S603


def stop(process: subprocess.Popen[bytes], timeout: float) -> int:
    """Stop it: politely, then hard, then for good. Returns its exit status; 0 is a clean stop."""
    for sign, wait in ((FAST, timeout), (IMMEDIATE, 10.0), (KILL, 10.0)):
        if process.poll() is not None:
            break
        process.send_signal(sign)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            continue
    return process.wait()


def ready(cluster: Path) -> bool:
    """Say whether the server of this cluster has written that it takes connections."""
    return _pid_file(cluster).get(7, "").strip() == "ready"


def postmaster(cluster: Path) -> int | None:
    """Return the number of the live server process of this cluster; a pid file alone is not believed."""
    text = _pid_file(cluster).get(0, "")
    pid = int(text) if text.strip().isdigit() else 0
    if os.path.isdir("/proc/self"):
        return pid if pid in working_in(cluster) else None
    return pid if pid > 1 and _alive(pid) else None


def working_in(cluster: Path) -> list[int]:
    """Return the live processes whose working directory is this cluster, which no foreign process has."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        try:
            if name.isdigit() and os.readlink(f"/proc/{name}/cwd") == str(cluster):
                found.append(int(name))
        except OSError:  # gone, a zombie, or not ours to look at
            continue
    return found


def stop_left_behind(cluster: Path, patience: float = 30.0) -> None:
    """Stop what a killed parent left running here, and remove the pid file that nobody owns any more.

    Call it while holding the lock of the data folder. Raises EmbeddedError where something will not stop.
    """
    server = postmaster(cluster)
    if server is not None:
        _signal([server], FAST)
        _wait_gone(cluster, patience)
    for sign in (IMMEDIATE, KILL):
        _signal(working_in(cluster), sign)
        _wait_gone(cluster, 3.0)
    if left := working_in(cluster):
        raise EmbeddedError(f"processes {left} still use {cluster} and will not stop")
    if os.path.isdir("/proc/self"):
        # A number in a stale file may since belong to a foreign process, and PostgreSQL would refuse to start.
        (cluster / "postmaster.pid").unlink(missing_ok=True)


def advised(said: str) -> str:
    """Return the end of what was said, with the advice that fits."""
    hints = [advice for sign, advice in ADVICE if sign in said]
    return "\n".join([said[-1500:], *hints[:1]])


def _pid_file(cluster: Path) -> Mapping[int, str]:
    """Return its lines by number: https://www.postgresql.org/docs/18/storage-file-layout.html"""
    try:
        return dict(enumerate((cluster / "postmaster.pid").read_text().splitlines()))
    except (OSError, ValueError):
        return {}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal(pids: Sequence[int], sign: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            continue


def _wait_gone(cluster: Path, patience: float) -> None:
    end = time.monotonic() + patience
    while working_in(cluster) and time.monotonic() < end:
        time.sleep(0.02)
