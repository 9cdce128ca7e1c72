"""Plain files by names at which anything may stand: a data directory may have come with someone's clone.

Owns the two ways of not being held up by a link, a folder, a pipe or a device in the place of a file: it is not read, and it is
moved aside before the name is written. Opening a pipe waits for its other end for ever, and a link to a device never ends.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from perfmon.paths import UnsafeDirectory


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
