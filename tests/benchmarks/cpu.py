"""CPU time of a process and all that it started, from the operating system's accounting (/proc, Linux).

https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """One line of accounting: parent, name, and seconds of CPU, those of its ended children included."""

    parent: int
    name: str
    seconds: float


class Usage(NamedTuple):
    """Seconds of CPU: Concord's own processes, and PostgreSQL's."""

    server: float
    postgres: float

    def since(self, earlier: Usage) -> Usage:
        """Return what was used between two readings."""
        return Usage(self.server - earlier.server, self.postgres - earlier.postgres)


def _processes() -> dict[int, Process]:
    found: dict[int, Process] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue  # it ended meanwhile
        name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
        found[int(folder.name)] = Process(int(rest[1]), name, sum(map(int, rest[11:15])) / _TICKS)
    return found


def usage(root: int) -> Usage:
    """Return what process `root` and its living descendants have used so far."""
    all_of = _processes()
    tree = {root}
    while more := {pid for pid, p in all_of.items() if p.parent in tree} - tree:
        tree |= more
    server = sum(all_of[p].seconds for p in tree if p in all_of and all_of[p].name != "postgres")
    postgres = sum(all_of[p].seconds for p in tree if p in all_of and all_of[p].name == "postgres")
    return Usage(server, postgres)
