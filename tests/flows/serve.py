"""`concord serve` as a user starts it: a process of its own, on ports and a folder of the test's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests import commands
from tests.postgres import MASTER_KEY

CONCORD = shutil.which("concord", path=os.path.dirname(sys.executable)) or "concord"


def clean_environ(**more: str) -> dict[str, str]:
    """Return the environment without the settings of whoever runs the tests; a shared database has the tests' key."""
    key = {"CONCORD_MASTER_KEY": MASTER_KEY} if "CONCORD_DATABASE_URL" in more else {}
    return {k: v for k, v in os.environ.items() if not k.startswith("CONCORD_")} | key | more


def concord(*argv: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed."""
    return commands.run(argv, clean_environ(**more), check=check)


class Serve:
    """A running server; `ready` holds its JSON line."""

    def __init__(self, folder: Path, *flags: str, port: int = 0, mllp_port: int = 0, **settings: str) -> None:
        self.folder = folder
        self.log = (folder.parent / f"{folder.name}.log").open("ab")
        argv = [CONCORD, "serve", "--data-dir", str(folder), "--port", str(port), "--mllp-port", str(mllp_port), *flags]
        self.process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=clean_environ(**{f"CONCORD_{name.upper()}": value for name, value in settings.items()}),
            start_new_session=True,
        )
        self.ready: dict[str, Any] = json.loads(self._line("{"))

    def _line(self, start: str) -> str:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(start):
                return line
        raise AssertionError(f"the server ended before it was ready; see {self.log.name}")

    def told(self, until: str) -> str:
        """Return what it prints up to and with a line that starts with `until`."""
        assert self.process.stdout
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith(until):
                return "".join(lines)
        raise AssertionError(f"the server did not say {until!r}: {''.join(lines)}")

    @property
    def http(self) -> str:
        """Return the address before `/{tenant}`."""
        return str(self.ready["base_url"])

    @property
    def mllp(self) -> str:
        """Return HOST:PORT of the MLLP listener."""
        return f"127.0.0.1:{self.ready['mllp_port']}"

    def token(self, *flags: str) -> str:
        """Return what `concord token` prints."""
        return concord("token", "--tenant", "demo", "--data-dir", str(self.folder), *flags).stdout.strip()

    def kill(self) -> None:
        """Kill the supervisor as the kernel would, without a chance to clean up."""
        self.process.kill()
        self._ended(10)

    def stop(self) -> int:
        """Stop it as Ctrl-C does, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self._ended(60)

    def _ended(self, within: float) -> int:
        status = self.process.wait(within)
        if self.process.stdout:
            self.process.stdout.close()
        self.log.close()
        return status


def left_behind(folder: Path, within: float = 30.0) -> list[str]:
    """Return the command lines of processes that name the folder or work in it and are still there after a while."""
    end = time.monotonic() + within
    while (found := _processes_of(folder)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def _processes_of(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                place = os.readlink(entry / "cwd")
                settings = (entry / "environ").read_bytes()
            except OSError:
                continue
            if line and (str(folder) in line or place.startswith(str(folder)) or f"={folder}\0".encode() in settings):
                found.append(line)
    return found
