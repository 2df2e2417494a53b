"""A folder in which others leave files: what is complete is taken, read, and put away, and nothing outside is touched.

https://pubs.opengroup.org/onlinepubs/9799919799/functions/openat.html

Every step is one rename of a file within the folder, so that a process that ends between two of them leaves a state
from which the next one goes on: `NAME` is waiting, `work/NAME` is being read, `done/…` and `failed/…` are put away.
Links are never followed, neither on the way to the folder nor in it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

WORK, DONE, FAILED = "work", "done", "failed"
_PART = ".part"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not to wait for a writer, should a pipe have got into the place of a file.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_REPORT = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST_NAME = 180  # bytes; what is added has room within the 255 that file systems allow


class Unusable(Exception):
    """The folder cannot be used; the message names the reason and no file."""


class Stamp(NamedTuple):
    """By what a file shows that it changed."""

    size: int
    modified: int
    number: int


class Waiting(NamedTuple):
    """A file that waits, as of this look."""

    name: str
    stamp: Stamp


class Folder:
    """An open folder; close it after use. Its methods wait for the disk: call them where waiting is no harm."""

    def __init__(self, here: int, inner: dict[str, int]) -> None:
        self._here = here
        self._inner = inner

    @classmethod
    def open(cls, root: Path, parts: Sequence[str]) -> Self:
        """Open the folder of these names below `root`, which the operator vouches for. Raises Unusable."""
        found: list[int] = []
        try:
            found.append(os.open(root.resolve(strict=True), _DIRECTORY))
            for part in parts:
                found.append(os.open(_plain(part), _DIRECTORY, dir_fd=found[-1]))
            inner = {name: _inner(found[-1], name) for name in (WORK, DONE, FAILED)}
        except OSError as problem:
            raise Unusable(_reason(problem)) from None
        finally:
            for descriptor in found[:-1]:
                os.close(descriptor)
        return cls(found[-1], inner)

    def close(self) -> None:
        """Let go of it."""
        for descriptor in (self._here, *self._inner.values()):
            os.close(descriptor)

    def waiting(self, fits: Callable[[str], bool]) -> list[Waiting]:
        """Return the files that wait and whose names fit, the oldest first. Raises Unusable."""
        found = []
        try:
            with os.scandir(self._here) as entries:
                for entry in entries:
                    # One that was taken away while we looked is none.
                    with suppress(FileNotFoundError):
                        if fits(entry.name) and entry.is_file(follow_symlinks=False):
                            found.append(Waiting(entry.name, _stamp(entry.stat(follow_symlinks=False))))
        except OSError as problem:
            raise Unusable(_reason(problem)) from None
        return sorted(found, key=lambda one: (one.stamp.modified, one.name))

    def taken(self) -> list[str]:
        """Return the names of files that were taken and not put away, as after a process that ended meanwhile."""
        with os.scandir(self._inner[WORK]) as entries:
            return sorted(entry.name for entry in entries if not entry.name.endswith(_PART))

    def take(self, name: str) -> bool:
        """Take a file that waits; False where it is gone, or one of its name is still being read."""
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=self._inner[WORK], follow_symlinks=False)
            return False
        try:
            os.rename(name, name, src_dir_fd=self._here, dst_dir_fd=self._inner[WORK])
        except FileNotFoundError:
            return False
        except OSError as problem:
            raise Unusable(_reason(problem)) from None
        return True

    def read(self, name: str) -> Reading | None:
        """Open a file that was taken; None where it is gone. Raises Unusable where it is no file."""
        try:
            descriptor = os.open(name, _FILE, dir_fd=self._inner[WORK])
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise Unusable(_reason(problem)) from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise Unusable("it is no file")
        return Reading(descriptor, _stamp(status))

    def report(self, token: str) -> Report:
        """Begin a report; `token` tells it from those that others write at the same time. Raises Unusable."""
        name = f"{token}{_PART}"
        try:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._inner[WORK])
            return Report(name, os.open(name, _REPORT, 0o640, dir_fd=self._inner[WORK]))
        except OSError as problem:
            raise Unusable(_reason(problem)) from None

    def put_away(self, name: str, where: str, tag: str, report: Report | None) -> None:
        """Put a file into `done` or `failed` with its report beside it: first the report, then the file.

        Both get `tag` into their names, so that a file of the same name that comes later has a place of its own.
        """
        final = tagged(name, tag)
        target = self._inner[where]
        try:
            if report is not None:
                report.close()
                os.rename(report.name, f"{final}.ack", src_dir_fd=self._inner[WORK], dst_dir_fd=target)
            with suppress(FileNotFoundError):  # somebody else has done it
                os.rename(name, final, src_dir_fd=self._inner[WORK], dst_dir_fd=target)
            os.fsync(target)
            os.fsync(self._inner[WORK])
        except OSError as problem:
            raise Unusable(_reason(problem)) from None

    def clear(self) -> None:
        """Take away reports that were begun and never finished. Only for who alone works here."""
        with os.scandir(self._inner[WORK]) as entries:
            for name in [entry.name for entry in entries if entry.name.endswith(_PART)]:
                with suppress(FileNotFoundError, IsADirectoryError):
                    os.unlink(name, dir_fd=self._inner[WORK])


class Reading:
    """A file that is being read, with its stamp at the beginning."""

    def __init__(self, descriptor: int, stamp: Stamp) -> None:
        self._descriptor = descriptor
        self.stamp = stamp

    def piece(self, size: int) -> bytes:
        """Return the next bytes, none at the end. Raises Unusable."""
        try:
            return os.read(self._descriptor, size)
        except OSError as problem:
            raise Unusable(_reason(problem)) from None

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


class Report:
    """A report that is being written."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self._descriptor: int | None = descriptor

    def write(self, data: bytes) -> None:
        """Add to it. Raises Unusable."""
        assert self._descriptor is not None
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as problem:
            raise Unusable(_reason(problem)) from None

    def close(self) -> None:
        """Have it on the disk and let go of it."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def tagged(name: str, tag: str) -> str:
    """Return the name under which a file is put away.

    >>> tagged("results.hl7", "1f3a"), tagged("results", "1f3a")
    ('results.1f3a.hl7', 'results.1f3a')
    """
    stem, suffix = os.path.splitext(name)
    if len(os.fsencode(suffix)) > 16:
        stem, suffix = name, ""
    return f"{os.fsdecode(os.fsencode(stem)[:_LONGEST_NAME])}.{tag}{suffix}"


def _inner(here: int, name: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, 0o750, dir_fd=here)
    return os.open(name, _DIRECTORY, dir_fd=here)


def _plain(part: str) -> str:
    if part in ("", ".", "..") or "/" in part or "\0" in part:
        raise OSError(errno.EINVAL, "no name of a folder")
    return part


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino)


_REASONS = {
    errno.ENOENT: "the folder is not there",
    errno.ENOTDIR: "it is no folder, or a link",
    errno.ELOOP: "it is a link",
    errno.EACCES: "the rights do not allow it",
    errno.EPERM: "the rights do not allow it",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
}


def _reason(problem: OSError) -> str:
    """Return why, without the name of a file: it may be a patient's."""
    return _REASONS.get(problem.errno or 0, f"the system says {errno.errorcode.get(problem.errno or 0, 'no')}")
