"""PostgreSQL's own programs that write a database into a file and back: those of the wheel, or those of the machine.

https://www.postgresql.org/docs/18/app-pgdump.html · https://www.postgresql.org/docs/18/app-pgrestore.html
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fhir_server.store.embedded_account import EmbeddedError
from fhir_server.store.embedded_binaries import in_wheel

_LOOK = 0.2
# What a program said last; the lines before are mostly consequences.
_SAID = 2000


class DumpError(RuntimeError):
    """A database could not be written into a file or read from one; the message says why."""


async def dump(dsn: str, snapshot: str, file: Path, told: Callable[[int], None]) -> None:
    """Write what a snapshot shows into a file, telling its size now and then. Raises DumpError."""
    program = await _program("pg_dump", dsn)
    size = asyncio.create_task(_watch(file, told))
    try:
        await _run(program, dsn, ["--format=custom", "--compress=gzip:1", f"--snapshot={snapshot}", f"--file={file}"])
    finally:
        size.cancel()
    told(_size(file))


async def restore(dsn: str, file: Path, *, without: str) -> None:
    """Read a file into an empty database, all of it or nothing, but for what is called `without`. Raises DumpError."""
    program = await _program("pg_restore", dsn)
    wanted = [line for line in (await contents(file)).splitlines(keepends=True) if without not in line]
    with tempfile.NamedTemporaryFile("w", prefix="concord-restore-", suffix=".list") as chosen:
        chosen.writelines(wanted)
        chosen.flush()
        flags = ["--exit-on-error", "--single-transaction", f"--use-list={chosen.name}", str(file)]
        await _run(program, dsn, flags)


async def contents(file: Path) -> str:
    """Return the list of what is in a file. Raises DumpError for one that is no dump."""
    return await _ran([str(_found("pg_restore", 0)), "--list", str(file)], "")


async def _watch(file: Path, told: Callable[[int], None]) -> None:
    while True:
        await asyncio.sleep(_LOOK)
        told(_size(file))


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


async def _program(name: str, dsn: str) -> Path:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        return _found(name, connection.info.server_version // 10000)


def _found(name: str, major: int) -> Path:
    """Return the program of the wheel, or for a newer server that of the machine. Raises DumpError."""
    try:
        folder = in_wheel()
    except EmbeddedError:
        folder = None
    if folder and major <= int(folder.parent.name.removeprefix("pginstall") or 16):
        return folder / name
    found = shutil.which(name)
    if found is None:
        raise DumpError(f"there is no {name} for PostgreSQL {major or 18}: install its client programs")
    return Path(found)


async def _run(program: Path, dsn: str, flags: Sequence[str]) -> None:
    given = conninfo_to_dict(dsn)
    # Never among the words of a command: every user of the machine can read those.
    password = str(given.pop("password", "") or "")
    await _ran([str(program), f"--dbname={make_conninfo('', **given)}", *flags], password)


async def _ran(argv: Sequence[str], password: str) -> str:
    environ = {"LC_ALL": "C", "PATH": os.defpath, **({"PGPASSWORD": password} if password else {})}
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environ
    )
    try:
        out, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        text = said.decode("utf-8", "replace").strip()[-_SAID:]
        raise DumpError(f"{Path(argv[0]).name} failed: {text or f'exit status {process.returncode}'}")
    return out.decode("utf-8", "replace")
