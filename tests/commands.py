"""Commands of `concord` for tests, each in a process of its own, forked from one that has loaded the program already.

A command of which a test runs many would else spend most of its time on imports. What a start from nothing does is
seen where tests start servers.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

import msgspec

_SECONDS = 120


class Asked(msgspec.Struct):
    """What is to be run, where, and in which environment; it writes to the two files that come with it."""

    argv: Sequence[str]
    env: Mapping[str, str]
    folder: str


def run(argv: Sequence[str], env: Mapping[str, str], *, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run `concord` with these arguments to its end. Raises TimeoutError, CalledProcessError where it is checked."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.settimeout(_SECONDS)
            line.connect(_warm().address)
            asked = msgspec.json.encode(Asked(argv, env, str(Path.cwd())))
            socket.send_fds(line, [asked], [out.fileno(), err.fileno()])
            status = int(line.recv(64))
        out.seek(0)
        err.seek(0)
        done = subprocess.CompletedProcess(["concord", *argv], status, out.read().decode(), err.read().decode())
    if check:
        done.check_returncode()
    return done


class _Warm:
    """The process from which commands are forked; it ends with this one, whose pipe it holds."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="concord-commands-")
        self.address = f"{self._folder.name}/line"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.commands", self.address],
            cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout
        assert self._process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        """End it."""
        self._process.communicate()
        self._folder.cleanup()


_lock = threading.Lock()


def _warm() -> _Warm:
    with _lock:
        return _made()


@cache
def _made() -> _Warm:
    return _Warm()


def end() -> None:
    """End the process from which commands are forked, if there is one."""
    if _made.cache_info().currsize:
        _made().close()
        _made.cache_clear()


# ---- in the process from which commands are forked -----------------------------------------------------------------


def _serve(address: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(address)
        door.listen(64)
        print("ready", flush=True)
        while sys.stdin not in select.select([door, sys.stdin], [], [])[0]:
            line, _ = door.accept()
            if not os.fork():
                _answer(line)
            line.close()


def _answer(line: socket.socket) -> NoReturn:
    """Run what is asked in a child, and tell its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    whole, files, _, _ = socket.recv_fds(line, 1 << 20, 2)
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, file in enumerate(files, 1):
            os.dup2(file, number)
        _be(msgspec.json.decode(whole, type=Asked))
    line.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)


def _be(asked: Asked) -> NoReturn:
    from fhir_server.cli import app

    os.environ.clear()
    os.environ.update(asked.env)
    os.chdir(asked.folder)
    sys.argv = ["concord", *asked.argv]
    status = 1
    try:
        app()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


if __name__ == "__main__":
    import fhir_server.app.doors
    import fhir_server.cli  # noqa: F401 - loaded once for all

    _serve(sys.argv[1])
