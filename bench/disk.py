"""The disk below a benchmark: room for what it writes, and how fast the disk alone takes the same number of bytes."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

#: One write call of the probe; random, so that no file system gains by compressing it.
BLOCK_BYTES: Final = 8 * 2**20
#: The fewest and the most bytes that a probe writes.
MIN_PROBE_BYTES: Final = 64 * 2**20
MAX_PROBE_BYTES: Final = 8 * 2**30
#: What is left free on the disk, whatever is measured.
RESERVE_BYTES: Final = 2 * 2**30


class NoRoom(RuntimeError):
    """The disk has no room for what would be measured."""


def check_room(needed_bytes: int, folder: Path | None = None) -> None:
    """Raises: NoRoom, with what to do."""
    place = Path(folder or tempfile.gettempdir())
    free = shutil.disk_usage(place).free
    if free < needed_bytes + RESERVE_BYTES:
        raise NoRoom(
            f"about {(needed_bytes + RESERVE_BYTES) / 1e9:.0f} GB are needed in {place}, {free / 1e9:.0f} GB are free: "
            "shorten the run (--seconds), or name another place (--dir)"
        )


def sequential_mb_s(size_bytes: int, folder: Path | None = None) -> float:
    """MB/s of writing so many bytes (bounded by what is free) to one new file with one fdatasync at its end."""
    place = Path(folder or tempfile.gettempdir())
    room = shutil.disk_usage(place).free - RESERVE_BYTES
    size = max(MIN_PROBE_BYTES, min(size_bytes, MAX_PROBE_BYTES, room))
    block = memoryview(os.urandom(BLOCK_BYTES))
    with tempfile.NamedTemporaryFile(dir=place, prefix="perfmon-bench-disk-", buffering=0) as file:
        started, written = time.perf_counter(), 0
        while written < size:
            written += file.write(block)
        getattr(os, "fdatasync", os.fsync)(file.fileno())
        return written / (time.perf_counter() - started) / 1e6
