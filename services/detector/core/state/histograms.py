"""Histograms of a series' values: one a quarter hour for percentiles over a lookback, and one fading baseline.

All metrics share a row; each has a window of bins that widens in blocks when a value falls outside. Bins are those of
`kernels.bins`.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.bins import BINS, bin_of
from services.detector.core.metrics import HISTORY_MS, QUARTER_MS
from services.detector.core.state.budget import Budget
from services.detector.core.state.rows import Layout, SortedRows

#: Quarter hours kept: a day, the one under way, and slack for late calls.
MAX_QUARTERS: Final = HISTORY_MS // QUARTER_MS + 4
FIRST_QUARTERS: Final = 0
#: A window of bins begins and grows in blocks of this many: a factor of 1.9.
_BLOCK: Final = 16


@cache
def _layout(bins: int) -> Layout:
    return ((np.uint32, (bins,)),)


class Histograms:
    """`lows` i64[metrics], `starts` i64[metrics + 1] say where which bin is; `base` f32[bins] is the baseline, in one block of
    memory with them; `quarters` has counts u32[rows, bins].
    """

    __slots__ = ("budget", "metrics", "quarters", "room")

    def __init__(self, metrics: int, budget: Budget) -> None:
        self.budget = budget
        #: How many metrics have a window, filled or not.
        self.metrics = metrics
        self.room = bytearray(8 * (2 * metrics + 1))
        self.lows[:] = -1
        self.quarters = SortedRows(FIRST_QUARTERS, _layout(0), MAX_QUARTERS, MAX_QUARTERS, budget)

    @property
    def lows(self) -> NDArray[np.int64]:
        """i64[metrics]: the first bin of each window, −1 while it is empty."""
        return np.ndarray(self.metrics, np.int64, self.room)

    @property
    def starts(self) -> NDArray[np.int64]:
        """i64[metrics + 1]: where the windows begin, and the last ends."""
        return np.ndarray(self.metrics + 1, np.int64, self.room, 8 * self.metrics)

    @property
    def base(self) -> NDArray[np.float32]:
        """f32[bins]."""
        return np.ndarray((len(self.room) - self._base_at) // 4, np.float32, self.room, self._base_at)

    @property
    def counts(self) -> NDArray[np.uint32]:
        """u32[rows, bins]."""
        counts: NDArray[np.uint32] = self.quarters.column(0)
        return counts

    def views(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """`starts`, `lows` and `base`."""
        return self.starts, self.lows, self.base

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        return len(self.quarters.room) + len(self.room)

    @property
    def _base_at(self) -> int:
        return 8 * (2 * self.metrics + 1)

    def base_of(self, metric: int) -> NDArray[np.float32]:
        """The baseline's bins of a metric, a view."""
        return self.base[self.starts[metric] : self.starts[metric + 1]]

    def widen(self, metrics: int) -> None:
        """Make room for more metrics, with empty windows."""
        before, lows, starts, base = self.metrics, self.lows, self.starts, self.base
        self.metrics = metrics
        self.room = bytearray(8 * (2 * metrics + 1) + base.nbytes)
        self.lows[:before], self.lows[before:] = lows, -1
        self.starts[: before + 1], self.starts[before + 1 :] = starts, starts[-1]
        self.base[:] = base

    def put_back(self, lows: NDArray[np.int64], starts: NDArray[np.int64], base: NDArray[np.float32]) -> None:
        """Have these windows and this baseline, and no quarter hours."""
        self.room = bytearray(8 * (2 * self.metrics + 1) + base.nbytes)
        self.lows[:], self.starts[:], self.base[:] = lows, starts, base
        self.quarters.lay_out(_layout(len(base)))

    def make_bins(self, metric: int, smallest: float, largest: float) -> None:
        """Widen a metric's window so that both values have a bin."""
        first, last = bin_of(smallest), bin_of(largest)
        size = int(self.starts[metric + 1] - self.starts[metric])
        old_low = int(self.lows[metric])
        if size:
            first, last = min(first, old_low), max(last, old_low + size - 1)
        low = first // _BLOCK * _BLOCK
        high = min(BINS, (last // _BLOCK + 1) * _BLOCK)
        if size and low == old_low and high - low == size:
            return
        self._lay_out(metric, low, high - low)

    def window(self, metric: int, first_quarter: int, last_quarter: int) -> NDArray[np.float64]:
        """The counts of a metric over quarters first … last."""
        rows, starts = self.quarters.between(first_quarter, last_quarter), self.starts
        part = self.counts[rows, starts[metric] : starts[metric + 1]]
        total: NDArray[np.float64] = part.sum(axis=0, dtype=np.float64)
        return total

    def _lay_out(self, metric: int, low: int, size: int) -> None:
        lows, starts, base = self.lows, self.starts, self.base
        old_size = int(starts[metric + 1] - starts[metric])
        at, shift = int(starts[metric]), int(lows[metric]) - low if old_size else 0
        extra = size - old_size
        before = self.size_bytes
        counts = self.quarters.lay_out(_layout(len(base) + extra))[0]
        self.room = bytearray(len(self.room) + 4 * extra)
        for new, old in ((self.counts, counts), (self.base, base)):
            new[..., :at] = old[..., :at]
            new[..., at + shift : at + shift + old_size] = old[..., at : at + old_size]
            new[..., at + size :] = old[..., at + old_size :]
        starts[metric + 1 :] += extra
        lows[metric] = low
        self.lows[:], self.starts[:] = lows, starts
        # A value without a bin would be lost to the percentiles, so this is not asked for but counted.
        self.budget.force(self.size_bytes - before)
