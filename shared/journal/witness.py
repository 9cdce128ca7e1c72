"""`journal/witness`: how far the journal had come, in a file of its own, so that a journal that lost its end is found out.

SQLite takes a write-ahead log that was cut or damaged for one that ends there: commits that were acknowledged would be gone
without a word, and their sequences be given out again. A mapped file costs no system call a commit and survives kill -9; after
a power failure it may be older than the journal, never newer, and older says nothing.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Final

import structlog

from perfmon.plain_file import make_way

FILE_NAME: Final = "witness"

#: Epoch, highest committed sequence, whether the journal was found damaged; then a checksum of these.
_NOTE: Final = struct.Struct("<16sQ?")
_SUM: Final = struct.Struct("<I")
_SIZE: Final = _NOTE.size + _SUM.size


class Witness:
    """What the last writer of the journal knew: `epoch`, `head`, and `damaged` if it met damage. Empty when nothing is known.

    Where the file can't be made (the disk is full, say), this life's notes are kept by nobody and the journal goes on.
    """

    def __init__(self, journal: Path) -> None:
        try:
            self._map = _mapped(journal / FILE_NAME)
        except OSError as error:
            structlog.get_logger().warning("journal_without_witness", reason=str(error))
            self._map = mmap.mmap(-1, _SIZE)
        self.epoch, self.head, self.damaged = self._read()

    def note(self, epoch: str, head: int, *, damaged: bool = False) -> None:
        """Everything up to `head` is committed."""
        self.epoch, self.head, self.damaged = epoch, head, damaged
        note = _NOTE.pack(epoch.encode()[:16], head, damaged)
        self._map[:] = note + _SUM.pack(zlib.crc32(note))

    def lost(self, epoch: str, head: int) -> int:
        """How many committed entries a journal of this epoch and head lacks."""
        return max(0, self.head - head) if epoch.encode()[:16] == self.epoch.encode() else 0

    def close(self) -> None:
        """Let go of the file; idempotent."""
        self._map.close()

    def _read(self) -> tuple[str, int, bool]:
        note = self._map[: _NOTE.size]
        if self._map[_NOTE.size :] != _SUM.pack(zlib.crc32(note)):
            return "", 0, False
        epoch, head, damaged = _NOTE.unpack(note)
        return epoch.rstrip(b"\0").decode(errors="replace"), head, damaged


def _mapped(path: Path) -> mmap.mmap:
    make_way(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size < _SIZE:
            # Written and not just grown: a hole in a mapped file ends the process when the disk is full.
            os.pwrite(descriptor, bytes(_SIZE - size), size)
        return mmap.mmap(descriptor, _SIZE)
    except ValueError as error:  # a short write: what is to be mapped is not there
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
    finally:
        os.close(descriptor)
