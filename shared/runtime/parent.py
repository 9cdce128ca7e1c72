"""A service whose parent dies stops itself: an orphan would keep its sockets and its lock."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


class ParentWatch:
    """Remembers the parent at start; asks the kernel (Linux) to send SIGTERM when it dies."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    def orphaned(self) -> bool:
        """Whether the parent of the start is gone."""
        return os.getppid() != self._parent
