"""What a window keeps of one slot's histograms, so that they can be taken out again when the slot leaves the window.

Sparse: (series · BUCKETS + bucket) → count, gathered batch by batch and merged now and then.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
Counts = NDArray[np.int64]

#: Batches after which a slot's parts are merged into one.
MERGE_AFTER: Final = 32


class SparseCounts:
    """Counts by key; adding is cheap, `merged` is exact."""

    __slots__ = ("_counts", "_keys")

    def __init__(self) -> None:
        self._keys: list[Keys] = []
        self._counts: list[Counts] = []

    def add(self, keys: Keys, counts: Counts) -> None:
        """Add counts; keys are distinct within one call."""
        self._keys.append(keys)
        self._counts.append(counts)
        if len(self._keys) > MERGE_AFTER:
            self.merged()

    def merged(self) -> tuple[Keys, Counts]:
        """Distinct ascending keys and their counts."""
        if not self._keys:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        if len(self._keys) > 1:
            keys, places = np.unique(np.concatenate(self._keys), return_inverse=True)
            counts = np.bincount(places, weights=np.concatenate(self._counts), minlength=len(keys)).astype(np.int64)
            self._keys, self._counts = [keys], [counts]
        return self._keys[0], self._counts[0]

    def clear(self) -> None:
        """Forget everything."""
        self._keys.clear()
        self._counts.clear()
