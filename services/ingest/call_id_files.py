"""The call ids of the last hours on disk: `state/call-ids/HOUR.ids`, 16 bytes a call id.

Another view of the journal: written after the commit, synced before the checkpoint. Ids of entries after the checkpoint are
taken from the replay, and a set does not mind being told twice, so nothing is ever cut but a torn tail.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from perfmon.paths import private_directory

DIGEST_BYTES: Final = 16

_NAME = re.compile(r"([0-9]{1,10})\.ids")


class CallIdFiles:
    """Append-only files of digests, one for each hour of commit (epoch hours)."""

    def __init__(self, directory: Path) -> None:
        private_directory(directory)
        self._directory = directory
        self._unsynced: set[int] = set()

    def load(self) -> dict[int, set[bytes]]:
        """The digests of every hour there is. What stands in the place of a file (a link, a folder) is moved aside.

        Raises: OSError.
        """
        found = {}
        for path in sorted(self._directory.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match and (path.is_symlink() or not path.is_file()):
                path.rename(path.with_name(f"{path.name}.set-aside-{secrets.token_hex(4)}"))
            elif match:
                data = path.read_bytes()
                whole = len(data) - len(data) % DIGEST_BYTES
                found[int(match.group(1))] = {data[i : i + DIGEST_BYTES] for i in range(0, whole, DIGEST_BYTES)}
        return found

    def append(self, hour: int, digests: Iterable[bytes]) -> None:
        """Add digests to an hour's file.

        Raises: OSError; nothing is lost by it as long as no checkpoint is made.
        """
        data = b"".join(digests)
        if not data:
            return
        descriptor = os.open(self._path(hour), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            offset = size - size % DIGEST_BYTES
            if os.pwrite(descriptor, data, offset) != len(data):
                os.ftruncate(descriptor, offset)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
        self._unsynced.add(hour)

    def sync(self) -> None:
        """Make what was appended durable; may run in another thread.

        Raises: OSError.
        """
        hours, self._unsynced = self._unsynced, set()
        for hour in hours:
            try:
                descriptor = os.open(self._path(hour), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def remove(self, hour: int) -> None:
        """Remove an hour's file; idempotent."""
        self._path(hour).unlink(missing_ok=True)

    def _path(self, hour: int) -> Path:
        return self._directory / f"{hour}.ids"
