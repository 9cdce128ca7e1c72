"""Plain files by names at which anything may stand: a data directory may have come with someone's clone.

Owns the ways of not being held up by a link, a folder, a pipe or a device in the place of a file: it is not read, and it is
moved aside before the name is written. Opening a pipe waits for its other end for ever, and a link to a device never ends. A file
with a second name elsewhere (a hard link) is copied before it is written.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from perfmon.paths import UnsafeDirectory

#: Bytes that are copied at once.
COPY_BYTES: Final = 1024 * 1024


def read_plain(path: Path, limit_bytes: int) -> bytes:
    """The bytes of a file.

    Raises: FileNotFoundError; OSError when it is a link or cannot be read; UnsafeDirectory when it is no file or larger than
    `limit_bytes`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeDirectory(path, "is not a file")
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, opened without following links
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise UnsafeDirectory(path, f"has more than {limit_bytes} bytes")
    return data


def is_plain(path: Path) -> bool:
    """Whether a file stands there, and not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def make_way(path: Path) -> Path | None:
    """Move what is no file away from a name that is about to be written; where it is now, None when nothing had to move.

    Raises: OSError.
    """
    if not os.path.lexists(path) or is_plain(path):
        return None
    aside = path.with_name(f"{path.name}.set-aside-{secrets.token_hex(4)}")
    path.rename(aside)
    return aside


def separate(descriptor: int, name: str, folder: int) -> int:
    """A descriptor for reading and writing of a file of one name alone: `descriptor` itself, or, when its file has a second name
    (a hard link, which may be someone's own file), that of a copy that has taken `name` in `folder`. The other name keeps the
    old file; `descriptor` is then closed.

    Raises: OSError; `descriptor` is then closed too.
    """
    if os.fstat(descriptor).st_nlink <= 1:
        return descriptor
    temp = f".{name[:100]}.{secrets.token_hex(4)}.tmp"
    try:
        copy = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            _copy(descriptor, copy)
            os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.close(copy)
            os.unlink(temp, dir_fd=folder)
            raise
    finally:
        os.close(descriptor)
    return copy


def _copy(source: int, target: int) -> None:
    at = 0
    while part := os.pread(source, COPY_BYTES, at):
        while part:
            written = os.pwrite(target, part, at)
            at, part = at + written, part[written:]
    os.fsync(target)
