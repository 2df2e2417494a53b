"""Run as a script: give up root, ask for a signal when the parent dies, then become the program.

Python's own `preexec_fn` is not safe in a process with threads, so this stands between. Usage: embedded_launch.py JSON,
with {"parent": pid, "signal": n, "account": [uid, gid] | null, "folders": {name: path}, "argv": [program, ...]}.
A folder is opened before root is given up, and `{name}` in argv becomes its open descriptor: its user need not be able
to pass through the folders above it. https://man7.org/linux/man-pages/man2/pr_set_pdeathsig.2const.html
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

PR_SET_PDEATHSIG = 1


def main(order: dict[str, Any]) -> None:
    """Become the ordered program; exits 1 where the parent is gone already."""
    argv = _with_folders(order["argv"], order["folders"])
    os.chdir("/")
    os.setsid()
    if order["account"]:
        uid, gid = order["account"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After setuid, which clears the parent-death signal.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, order["signal"])
    if os.getppid() != order["parent"]:
        sys.exit(1)
    os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted


def _with_folders(argv: list[str], folders: dict[str, str]) -> list[str]:
    for name, path in folders.items():
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        os.set_inheritable(descriptor, True)
        argv = [word.replace("{" + name + "}", f"/proc/self/fd/{descriptor}") for word in argv]
    return argv


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
