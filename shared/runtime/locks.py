"""One lock file a service in the data directory, so that two pipelines never write the same data.

flock is released by the kernel when the process dies, however it dies. The file's text says who holds it, for people.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path


class LockHeld(RuntimeError):
    """Another process holds the lock; `holder` is what it wrote of itself."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path.name} is held by {holder}")
        self.holder = holder


class ServiceLock:
    """An exclusive lock on a file, held until `release` or the death of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock now.

        Raises: LockHeld.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _describe(descriptor)
            os.close(descriptor)
            raise LockHeld(self.path, holder) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _pid(descriptor: int) -> int | None:
    try:
        found = json.loads(os.pread(descriptor, 200, 0))
        return int(found["pid"])
    except (ValueError, KeyError, TypeError):
        return None


def _describe(descriptor: int) -> str:
    pid = _pid(descriptor)
    return "another process" if pid is None else f"pid {pid}"
