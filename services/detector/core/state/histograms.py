"""Histograms of a series' values: one a quarter hour for percentiles over a lookback, and one fading baseline.

All metrics share a row; each has a window of bins that widens in blocks when a value falls outside. Bins are those of
`kernels.bins`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.bins import BINS, EDGES, bin_of
from services.detector.core.metrics import HISTORY_MS, QUARTER_MS
from services.detector.core.state.budget import Budget
from services.detector.core.state.rows import SortedRows

#: Quarter hours kept: a day, the one under way, and slack for late calls.
MAX_QUARTERS: Final = HISTORY_MS // QUARTER_MS + 4
FIRST_QUARTERS: Final = 1
#: A window of bins begins and grows in blocks of this many: a factor of 1.9.
_BLOCK: Final = 16


class Histograms:
    """`lows` i64[metrics], `starts` i64[metrics + 1], `fits` f64[metrics, 2] say where which bin is; `base` f64[bins] is the
    baseline; `quarters` has counts u32[rows, bins].
    """

    __slots__ = ("base", "budget", "fits", "lows", "quarters", "starts")

    def __init__(self, metrics: int, budget: Budget) -> None:
        self.budget = budget
        self.lows: NDArray[np.int64] = np.full(metrics, -1, np.int64)
        self.starts: NDArray[np.int64] = np.zeros(metrics + 1, np.int64)
        self.fits: NDArray[np.float64] = np.zeros((metrics, 2))
        self.base: NDArray[np.float64] = np.zeros(0)
        counts = np.zeros((FIRST_QUARTERS, 0), np.uint32)
        self.quarters = SortedRows([counts], MAX_QUARTERS, MAX_QUARTERS, budget)

    @property
    def metrics(self) -> int:
        """How many metrics have a window, filled or not."""
        return len(self.lows)

    @property
    def counts(self) -> NDArray[np.uint32]:
        """u32[rows, bins]."""
        counts: NDArray[np.uint32] = self.quarters.columns[0]
        return counts

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        return self.quarters.size_bytes + self.base.nbytes

    def base_of(self, metric: int) -> NDArray[np.float64]:
        """The baseline's bins of a metric, a view."""
        return self.base[self.starts[metric] : self.starts[metric + 1]]

    def widen(self, metrics: int) -> None:
        """Make room for more metrics, with empty windows."""
        more = metrics - self.metrics
        self.lows = np.concatenate([self.lows, np.full(more, -1, np.int64)])
        self.starts = np.concatenate([self.starts, np.full(more, self.starts[-1], np.int64)])
        self.fits = np.concatenate([self.fits, np.zeros((more, 2))])

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
        rows = self.quarters.between(first_quarter, last_quarter)
        part = self.counts[rows, self.starts[metric] : self.starts[metric + 1]]
        total: NDArray[np.float64] = part.sum(axis=0, dtype=np.float64)
        return total

    def _lay_out(self, metric: int, low: int, size: int) -> None:
        old_size = int(self.starts[metric + 1] - self.starts[metric])
        at, shift = int(self.starts[metric]), int(self.lows[metric]) - low if old_size else 0
        extra = size - old_size
        before = self.size_bytes
        counts = np.zeros((len(self.counts), self.counts.shape[1] + extra), np.uint32)
        base = np.zeros(len(self.base) + extra)
        for new, old in ((counts, self.counts), (base, self.base)):
            new[..., :at] = old[..., :at]
            new[..., at + shift : at + shift + old_size] = old[..., at : at + old_size]
            new[..., at + size :] = old[..., at + old_size :]
        self.quarters.columns[0], self.base = counts, base
        self.starts[metric + 1 :] += extra
        self.lows[metric] = low
        self.fits[metric] = edges(low, size)
        # A value without a bin would be lost to the percentiles, so this is not asked for but counted.
        self.budget.force(self.size_bytes - before)


def edges(low: int, size: int) -> tuple[float, float]:
    """From and below which values fall into bins low … low + size − 1."""
    return -np.inf if low == 0 else float(EDGES[low]), float(EDGES[low + size])
