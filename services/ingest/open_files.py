"""The descriptors of the JSONL files that were written to last; opening a file costs 5 µs more than appending to an open one."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Final

from services.ingest.tree import MetricTree

#: Descriptors kept open.
MAX_OPEN_FILES: Final = 200


class OpenFiles:
    """Path below `metrics/` → descriptor; the one unused longest is closed first. For one thread at a time."""

    def __init__(self, tree: MetricTree) -> None:
        self._tree = tree
        self._open: OrderedDict[str, int] = OrderedDict()

    def descriptor(self, path: str) -> tuple[int, int]:
        """An open descriptor of a file that is there, made if need be, and the file's size in bytes.

        Raises: OSError.
        """
        descriptor = self._open.get(path)
        if descriptor is None:
            descriptor = self._open_file(path)
        else:
            self._open.move_to_end(path)
        found = os.fstat(descriptor)
        if found.st_nlink == 0:
            # Removed under us: what is appended to it would vanish without an error.
            self.close(path)
            descriptor = self._open_file(path)
            found = os.fstat(descriptor)
        return descriptor, found.st_size

    def close(self, path: str) -> None:
        """Close a file if it is open."""
        descriptor = self._open.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)

    def close_all(self) -> None:
        """Close every file; idempotent."""
        for path in list(self._open):
            self.close(path)

    def _open_file(self, path: str) -> int:
        descriptor = self._open[path] = self._tree.open(path)
        while len(self._open) > MAX_OPEN_FILES:
            self.close(next(iter(self._open)))
        return descriptor
