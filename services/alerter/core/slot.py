"""What a window keeps of one slot's histograms, so that they can be taken out again when the slot leaves the window.

Sparse: (series id · BINS + bin of `shared.sketch`) → count, gathered batch by batch and added up now and then.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.sketch import add_up

Keys = NDArray[np.int32]
Counts = NDArray[np.float64]

#: Batches after which a slot's parts are added up, or keys that were added one by one.
MERGE_AFTER: Final = 32
MERGE_AFTER_KEYS: Final = 1 << 17


class SparseCounts:
    """Counts by key; adding is cheap, `merged` is exact."""

    __slots__ = ("_counts", "_each", "_keys", "_waiting")

    def __init__(self) -> None:
        self._keys: list[Keys] = []
        self._counts: list[Counts] = []
        self._each: list[Keys] = []
        self._waiting = 0

    def add_each(self, keys: Keys) -> None:
        """Add 1 for every key, which may occur many times."""
        self._each.append(keys)
        self._waiting += len(keys)
        if self._waiting > MERGE_AFTER_KEYS or len(self._each) > MERGE_AFTER:
            self._add_each()

    def add(self, keys: Keys, counts: Counts) -> None:
        """Add counts; keys are distinct within one call."""
        self._keys.append(keys)
        self._counts.append(counts)
        if len(self._keys) > MERGE_AFTER:
            self.merged()

    def merged(self) -> tuple[Keys, Counts]:
        """Distinct ascending keys and their counts."""
        self._add_each()
        if not self._keys:
            return np.empty(0, np.int32), np.empty(0)
        if len(self._keys) > 1:
            every = np.concatenate(self._keys)
            keys, counts = add_up(every, np.concatenate(self._counts), int(every.max(initial=0)) + 1)
            self._keys, self._counts = [keys], [counts]
        return self._keys[0], self._counts[0]

    def clear(self) -> None:
        """Forget everything."""
        self._keys.clear()
        self._counts.clear()
        self._each.clear()
        self._waiting = 0

    def _add_each(self) -> None:
        if self._each:
            every = np.concatenate(self._each)
            self._each, self._waiting = [], 0
            self.add(*add_up(every, None, int(every.max()) + 1))
