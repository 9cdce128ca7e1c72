"""What the C library does with memory that was freed: keep it for the next batch while there is a load, give it back after it.

By default glibc maps every array of more than 128 KB anew and unmaps it after use, and the kernel clears each page again: at a
million rows a second that is more work than most of what is done with the rows. Elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

#: Arrays up to this size come from the heap, and so much of it may lie free at its end.
KEPT_BYTES: Final = 32 * 1024 * 1024

#: Rows applied at once from which on it is a load, and how long after the last of it memory is given back.
LOAD_ROWS: Final = 4_096
LOAD_OVER_S: Final = 10.0

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3


def _libc() -> Any:
    try:
        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
    except OSError:
        return None


def keep_freed() -> None:
    """Use freed memory again rather than give it back at once."""
    libc = _libc()
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, KEPT_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)


def give_back() -> None:
    """Give back what is free now."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


class LoadMemory:
    """Keeps freed memory while batches are large, and gives it back some time after the last of them."""

    def __init__(self) -> None:
        self._loaded_at: float | None = None

    def applied(self, rows: int, now_s: float) -> None:
        """So many rows were applied at once; call it now and then with 0."""
        if rows >= LOAD_ROWS:
            if self._loaded_at is None:
                keep_freed()
            self._loaded_at = now_s
        elif self._loaded_at is not None and now_s - self._loaded_at >= LOAD_OVER_S:
            self._loaded_at = None
            give_back()
