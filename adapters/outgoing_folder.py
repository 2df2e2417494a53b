"""Files for others: each is there whole or not at all, and none outside the folder is touched.

https://pubs.opengroup.org/onlinepubs/9799919799/functions/openat.html
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def leave(root: Path, parts: Sequence[str], name: str, content: bytes) -> None:
    """Put a file into the folder of these names below `root`, which the operator vouches for; what has its name goes.

    Folders below the root are made. Links are never followed. It is on the disk when this returns. Raises OSError.
    """
    with _folder(root, parts) as here:
        partial = f".{name}.{secrets.token_hex(4)}.part"
        try:
            with os.fdopen(os.open(partial, _NEW, 0o640, dir_fd=here), "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            os.rename(partial, name, src_dir_fd=here, dst_dir_fd=here)
        except BaseException:
            with suppress(OSError):
                os.unlink(partial, dir_fd=here)
            raise
        os.fsync(here)


@contextmanager
def _folder(root: Path, parts: Sequence[str]) -> Iterator[int]:
    here = os.open(root.resolve(strict=True), _DIRECTORY)
    try:
        for part in parts:
            with suppress(FileExistsError):
                os.mkdir(part, 0o750, dir_fd=here)
            inner = os.open(part, _DIRECTORY, dir_fd=here)
            os.close(here)
            here = inner
        yield here
    finally:
        os.close(here)
