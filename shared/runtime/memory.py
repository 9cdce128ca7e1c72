"""What the C library does with memory that was freed: keep it for the next batch while there is a load, give it back after it.

By default glibc maps every array of more than 128 KB anew and unmaps it after use, and the kernel clears each page again: at a
million rows a second that is more work than most of what is done with the rows. Elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

#: Arrays up to this size come from the heap, and so much of it may lie free at its end.
KEPT_BYTES: Final = 32 * 1024 * 1024

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
