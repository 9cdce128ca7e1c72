"""Entries that make a core fail: kept aside with their reason to be looked at, and passed.

An exception parks an entry at once. A core that takes the whole process with it leaves a mark of the entries it was working
on; the third death on the same entry parks it too.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Final

from perfmon.paths import private_directory
from shared.store.atomic import write_atomic

#: Deaths on the same entry after which it is parked: a kill -9 from outside hits the same entry twice at most by bad luck.
MAX_DEATHS: Final = 3

#: Epoch, first entry under work, deaths, last entry under work.
_MARK: Final = struct.Struct("<16sQQQ")


class ParkingLot:
    """The parked entries of one service, `state/SERVICE/parked/EPOCH-SEQ.msgpack`, and the mark of the one under work."""

    def __init__(self, directory: Path) -> None:
        private_directory(directory)
        self._parked = directory / "parked"
        private_directory(self._parked)
        self._known = {path.stem for path in self._parked.glob("*.msgpack")}
        descriptor = os.open(directory / "working", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _MARK.size)
            # A mapped file survives kill -9 of its process and costs no system call an entry.
            self._mark = mmap.mmap(descriptor, _MARK.size)
        finally:
            os.close(descriptor)
        self._deaths = self._count_death()

    @property
    def total(self) -> int:
        """How many entries are parked."""
        return len(self._known)

    def holds(self, epoch: str, seq: int) -> bool:
        """Whether this entry is to be passed."""
        return bool(self._known) and f"{epoch}-{seq}" in self._known

    def park(self, epoch: str, seq: int, body: bytes) -> None:
        """Keep an entry aside for good."""
        write_atomic(self._parked / f"{epoch}-{seq}.msgpack", body)
        self._known.add(f"{epoch}-{seq}")
        self.done()

    def begin(self, epoch: str, seq: int, last: int | None = None) -> None:
        """Mark the entry that is worked on now, or all up to `last`."""
        working, first, last_then = self._working
        deaths = self._deaths if working == epoch and first <= seq <= last_then else 0
        self._mark[:] = _MARK.pack(epoch.encode()[:16], seq, deaths, seq if last is None else last)

    def suspects(self) -> tuple[str, int]:
        """Epoch and last of the entries that were worked on when the process died; entry 0 when it did not."""
        return (self._working[0], self._working[2]) if self._deaths else ("", 0)

    def done(self) -> None:
        """The entry under work is through."""
        self._mark[16:24] = b"\0\0\0\0\0\0\0\0"

    def settle(self) -> None:
        """Everything was caught up: earlier deaths are forgotten."""
        self._deaths = 0
        self._working = ("", 0, 0)

    def park_deadly(self) -> tuple[str, int] | None:
        """Park, without its body, the entry that three processes in a row died on; which one that was."""
        epoch, seq, last = self._working
        if self._deaths < MAX_DEATHS or seq != last or self.holds(epoch, seq):
            return None
        self.park(epoch, seq, b"")
        return epoch, seq

    def _count_death(self) -> int:
        epoch, seq, deaths, last = _MARK.unpack(self._mark[:])
        self._working = (epoch.rstrip(b"\0").decode(errors="replace"), seq, max(seq, last))
        return deaths + 1 if seq else 0
