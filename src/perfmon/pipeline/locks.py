"""Advisory locks on files of the data directory: who launches, and which supervisord serves it.

flock is released by the kernel when its holder dies, however it dies, and follows the directory through links and other
environments. The services hold locks of their own, which this only looks at.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from perfmon.paths import DataDirectory, UnsafeDirectory
from perfmon.pipeline.errors import Busy

#: Pause between two tries for a lock that somebody holds.
RETRY_S: Final = 0.05


def launch_lock(data: DataDirectory) -> Path:
    """Held while a pipeline is started or stopped."""
    return data.locks / "launch.lock"


def supervisor_lock(data: DataDirectory) -> Path:
    """Held by supervisord for as long as it lives."""
    return data.locks / "supervisord.lock"


def take(path: Path, wait_s: float) -> int:
    """The descriptor of the lock, once it is ours; the file then says so.

    Raises: Busy when another process kept it for `wait_s`; UnsafeDirectory when something else stands in its place.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeDirectory(path, "is not a file")
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = _written_pid(descriptor)
                os.close(descriptor)
                raise Busy(holder) from None
            time.sleep(RETRY_S)
        else:
            write_holder(descriptor)
            return descriptor


def write_holder(descriptor: int) -> None:
    """Say in the file that this process holds it."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)


@contextlib.contextmanager
def held(path: Path, wait_s: float) -> Iterator[None]:
    """Hold a lock for the duration of a block.

    Raises: Busy.
    """
    descriptor = take(path, wait_s)
    try:
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether some process holds the lock now. Looking takes the lock for an instant: takers must try more than once."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def holder(path: Path) -> int | None:
    """The pid that wrote itself into a lock file; trust it only while the lock is held."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _written_pid(descriptor)
    finally:
        os.close(descriptor)


def _written_pid(descriptor: int) -> int | None:
    try:
        found = json.loads(os.pread(descriptor, 200, 0))
        return int(found["pid"])
    except (ValueError, KeyError, TypeError):
        return None
