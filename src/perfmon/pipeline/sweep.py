"""Take away the sockets of a pipeline that is gone, and their directory with them.

Owns the one deletion below /tmp. Only sockets and supervisord's pid file go: compiled kernels may be kept there too, and then
the directory stays. The next start makes it again.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from perfmon.paths import DataDirectory
from perfmon.pipeline.locks import is_held, launch_lock

#: What a supervisord that was killed leaves beside its socket.
PID_FILE: Final = "supervisord.pid"


def sweep_sockets(data: DataDirectory) -> bool:
    """Remove the sockets, the pid file and, if nothing else is there, the runtime directory; whether that is gone.

    Call it with the launch lock held, so that nobody starts meanwhile. Nothing is touched while a process holds another lock of
    this data directory.
    """
    if any(is_held(path) for path in data.locks.glob("*.lock") if path != launch_lock(data)):
        return False
    if not (_is_ours(data.runtime.parent) and _is_ours(data.runtime)):
        return False
    with contextlib.suppress(OSError):  # not empty, or swept by somebody else: either way it is as it should be
        for entry in data.runtime.iterdir():
            if stat.S_ISSOCK(entry.lstat().st_mode) or entry.name == PID_FILE:
                entry.unlink()
        data.runtime.rmdir()
    return not data.runtime.exists()


def _is_ours(folder: Path) -> bool:
    """Whether it is a directory of this user that nobody else can write to, and no link to one."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
