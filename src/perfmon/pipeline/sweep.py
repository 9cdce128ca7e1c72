"""Take away the sockets of a pipeline that is gone, and their directory with them.

Owns the deletions below /tmp. Only sockets, supervisord's pid file and the note on whose they are go: compiled kernels may be
kept there too, and then the directory stays. The next start makes it again. Pipelines that were killed together with their data
directory (a test's, a container's) leave theirs behind: those are swept by whoever starts the next one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import Final

from perfmon.paths import WHOSE_FILE, DataDirectory, UnsafeDirectory
from perfmon.pipeline.locks import is_held, launch_lock
from perfmon.plain_file import read_plain

#: What a supervisord that was killed leaves beside its socket.
PID_FILE: Final = "supervisord.pid"
#: The longest path of a data directory.
MAX_PATH_BYTES: Final = 4_096
#: A directory that nobody listens in is abandoned once its data directory is gone, or after so long.
ABANDONED_AFTER_S: Final = 24 * 3600.0
#: Directories that are looked at in one sweep.
SWEPT_AT_ONCE: Final = 1_000


def sweep_sockets(data: DataDirectory) -> bool:
    """Remove the sockets, the pid file and, if nothing else is there, the runtime directory; whether that is gone.

    Call it with the launch lock held, so that nobody starts meanwhile. Nothing is touched while a process holds another lock of
    this data directory.
    """
    if any(is_held(path) for path in data.locks.glob("*.lock") if path != launch_lock(data)):
        return False
    if not (_is_ours(data.runtime.parent) and _is_ours(data.runtime)):
        return False
    return _remove(data.runtime)


def sweep_abandoned(parent: Path, now_s: float) -> int:
    """Remove what pipelines that are gone left in the folder of all runtime directories; how many went. `now_s`: epoch s."""
    if not _is_ours(parent):
        return 0
    swept = 0
    for folder in sorted(parent.iterdir(), key=_changed_s)[:SWEPT_AT_ONCE]:
        if _is_ours(folder) and _abandoned(folder, now_s) and not _anyone_listens(folder):
            swept += _remove(folder)
    return swept


def _abandoned(folder: Path, now_s: float) -> bool:
    if now_s - _changed_s(folder) > ABANDONED_AFTER_S:
        return True
    try:
        whose = Path(os.fsdecode(read_plain(folder / WHOSE_FILE, MAX_PATH_BYTES)))
    except (OSError, UnsafeDirectory):
        return False
    return whose.is_absolute() and not os.path.lexists(whose)


def _anyone_listens(folder: Path) -> bool:
    """Whether a socket in it may be somebody's: all that is not refused counts."""
    for path in folder.iterdir():
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as asker:
                asker.setblocking(False)
                try:
                    asker.connect(str(path))
                except ConnectionRefusedError:
                    continue
                except OSError:
                    return True
                return True
    return False


def _changed_s(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return float("inf")


def _remove(folder: Path) -> bool:
    with contextlib.suppress(OSError):  # not empty, or swept by somebody else: either way it is as it should be
        for entry in folder.iterdir():
            if stat.S_ISSOCK(entry.lstat().st_mode) or entry.name in (PID_FILE, WHOSE_FILE):
                entry.unlink()
        folder.rmdir()
    return not folder.exists()


def _is_ours(folder: Path) -> bool:
    """Whether it is a directory of this user that nobody else can write to, and no link to one."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
