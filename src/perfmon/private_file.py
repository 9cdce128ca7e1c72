"""Write a file whole or not at all, and read one only if nobody else could have written or read it.

Owns the temp-sync-rename of what the command line writes. The services have their own in `shared.store`, which this package
may not import.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

#: Nothing read here is larger: a user's ~/.claude.json grows to a few MB.
MAX_FILE_BYTES: Final = 64 * 1024 * 1024


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by a file with exactly these bytes and this mode, synced before it takes the name.

    Raises: OSError; the old file is then as it was and no temp file is left.
    """
    temp = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        _write_new(temp, data, mode)
        temp.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temp.unlink()
        raise
    _sync_directory(path.parent)


def write_once(path: Path, data: bytes) -> bool:
    """Make a 0600 file with these bytes unless the name is taken; whether it was made. Of two at once, one wins.

    Raises: OSError for anything but a taken name.
    """
    temp = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        _write_new(temp, data, 0o600)
        try:
            os.link(temp, path)
        except FileExistsError:
            return False
    finally:
        with contextlib.suppress(OSError):
            temp.unlink()
    _sync_directory(path.parent)
    return True


def read_private(path: Path) -> bytes | None:
    """The bytes of a regular file that belongs to us and that only we can read; None for any other or none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        os.close(fd)
        return None
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor, opened without following links
        return file.read(MAX_FILE_BYTES)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor, made exclusively
        os.fchmod(fd, mode)
        file.write(data)
        file.flush()
        os.fsync(fd)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
