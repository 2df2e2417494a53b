"""The operating-system user under which the embedded PostgreSQL runs: ours, or, as root, one of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

import msgspec

# As root, the first of these that exists; `concord` is made if none does.
CANDIDATES = ("concord", "postgres")
LAST_RESORT = "nobody"
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


class EmbeddedError(RuntimeError):
    """The embedded PostgreSQL cannot run; the message says why and what to do."""


class Account(msgspec.Struct, frozen=True):
    """A user of the operating system."""

    name: str
    uid: int
    gid: int


def own() -> Account:
    """Return the user of this process. Raises EmbeddedError where it has no name: peer authentication goes by name."""
    account = _lookup(os.geteuid())
    if account is None:
        raise EmbeddedError(
            f"the operating system has no user with number {os.geteuid()}; "
            "add one to /etc/passwd or set CONCORD_DATABASE_URL"
        )
    return account


def for_server(cluster: Path) -> Account:
    """Return who runs PostgreSQL: the owner of an existing cluster, ourselves, or as root a user of its own.

    Raises EmbeddedError where the cluster belongs to somebody we cannot become.
    """
    owner = _lookup(cluster.lstat().st_uid) if cluster.exists() else None
    me = own()
    if me.uid == 0:
        return _for_root(cluster, owner)
    if owner is not None and owner.uid != me.uid:
        raise EmbeddedError(f"{cluster} belongs to user {owner.name}: run as {owner.name} or as root")
    return me


def _for_root(cluster: Path, owner: Account | None) -> Account:
    if owner is None:
        return _existing(*CANDIDATES) or _made(CANDIDATES[0]) or _fallback()
    if owner.uid == 0:
        raise EmbeddedError(f"{cluster} belongs to root, which PostgreSQL refuses: give it back to its user (chown -R)")
    return owner


def reaches(account: Account, path: Path) -> bool:
    """Say whether the account may pass through every folder above the path, by mode bits alone."""
    return all(_passes(account, folder) for folder in path.resolve().parents)


def _passes(account: Account, folder: Path) -> bool:
    try:
        found = folder.stat()
    except OSError:
        return False
    if found.st_uid == account.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    return bool(found.st_mode & (stat.S_IXGRP if found.st_gid == account.gid else stat.S_IXOTH))


def _lookup(uid: int) -> Account | None:
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        return None
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def _existing(*names: str) -> Account | None:
    for name in names:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(found.pw_name, found.pw_uid, found.pw_gid)
    return None


def _made(name: str) -> Account | None:
    program = shutil.which("useradd", path=_SYSTEM_PATH)
    if program is None:
        return None
    subprocess.run(  # noqa: S603 - a fixed program with fixed arguments
        [program, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return _existing(name)


def _fallback() -> Account:
    account = _existing(LAST_RESORT)
    if account is None:
        raise EmbeddedError(f"PostgreSQL refuses root: add a user with `useradd --system {CANDIDATES[0]}`")
    return account
