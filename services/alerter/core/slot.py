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

#: Batches after which a slot's parts are added up.
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
