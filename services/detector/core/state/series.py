"""Everything that is kept of one series (one tool of one server), and how calls get into it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels import errors, judge
from services.detector.core.kernels.fold import MOMENTS, fold, scan
from services.detector.core.metrics import HISTORY_MS, METRICS, MINUTE_MS, QUARTER_MS
from services.detector.core.state.budget import Budget
from services.detector.core.state.calls import Calls
from services.detector.core.state.histograms import Histograms
from services.detector.core.state.rows import SortedRows
from shared.batch import Series

#: Minutes kept: a day and slack.
MAX_MINUTES: Final = HISTORY_MS // MINUTE_MS + 96
_FIRST_MINUTES: Final = 16
#: History is saved in chunks of this many minutes.
CHUNK_MINUTES: Final = 30
CHUNK_MS: Final = CHUNK_MINUTES * MINUTE_MS


class SeriesState:
    """O(1) bytes; see `state.budget` for how many. `tracks` f64[metrics, judge.SIZE], `run` f64[errors.SIZE]."""

    __slots__ = (
        "budget",
        "calls",
        "calls_total",
        "dirty",
        "dirty_chunks",
        "first_ts",
        "histograms",
        "key",
        "minutes",
        "newest_ts",
        "number",
        "run",
        "tracks",
    )

    def __init__(self, key: Series, number: int, budget: Budget, metrics: int = 1) -> None:
        self.key = key
        #: The name of this series in the database.
        self.number = number
        self.budget = budget
        self.calls = Calls(metrics, budget)
        moments = np.zeros((_FIRST_MINUTES, metrics, MOMENTS))
        self.minutes = SortedRows([moments, np.zeros(_FIRST_MINUTES)], MAX_MINUTES, MAX_MINUTES, budget)
        self.histograms = Histograms(metrics, budget)
        self.tracks: NDArray[np.float64] = np.zeros((metrics, judge.SIZE))
        self.run: NDArray[np.float64] = np.zeros(errors.SIZE)
        self.first_ts = -1
        self.newest_ts = -1
        self.calls_total = 0
        self.dirty = True
        self.dirty_chunks: set[int] = set()

    @property
    def metrics(self) -> int:
        """How many of METRICS are kept: 1, or all once a resource was measured."""
        return len(self.tracks)

    @property
    def moments(self) -> NDArray[np.float64]:
        """f64[minutes, metrics, MOMENTS] of the filled minutes."""
        moments: NDArray[np.float64] = self.minutes.columns[0][: self.minutes.filled]
        return moments

    @property
    def failures(self) -> NDArray[np.float64]:
        """f64[minutes]: failed calls of the filled minutes."""
        failures: NDArray[np.float64] = self.minutes.columns[1][: self.minutes.filled]
        return failures

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        parts = (self.calls.size_bytes, self.minutes.size_bytes, self.histograms.size_bytes)
        return sum(parts) + self.tracks.nbytes + self.run.nbytes

    def add(self, ts: NDArray[np.int64], x: NDArray[np.float64], ok: NDArray[np.uint8]) -> None:
        """Fold calls (in order of arrival) into calls, minutes and histograms. `x` f64[1 or 4, n]."""
        if self.metrics == 1 and len(x) > 1 and np.isfinite(x[1:]).any():
            self.widen()
        self._make_fit(ts, x)
        minutes, hists = self.minutes, self.histograms
        fold(
            ts,
            x,
            ok,
            minutes.index,
            minutes.filled,
            minutes.columns[0],
            minutes.columns[1],
            hists.quarters.index,
            hists.quarters.filled,
            hists.counts,
            hists.starts,
            hists.lows,
        )
        self.calls.append(ts, x, ok)
        self.calls_total += len(ts)
        self.dirty = True

    def widen(self) -> None:
        """Begin to keep resources."""
        before = self.size_bytes
        metrics = len(METRICS)
        self.calls.widen(metrics)
        moments = np.zeros((len(self.minutes.index), metrics, MOMENTS))
        moments[:, :1] = self.minutes.columns[0]
        self.minutes.columns[0] = moments
        self.histograms.widen(metrics)
        tracks = np.zeros((metrics, judge.SIZE))
        tracks[:1] = self.tracks
        self.tracks = tracks
        self.budget.force(self.size_bytes - before)

    def since(self) -> int:
        """From when on history is whole: the first call ever, or the first after what was forgotten."""
        forgotten = self.minutes.forgotten
        oldest = self.first_ts if forgotten < 0 else (forgotten + 1) * MINUTE_MS
        return max(oldest, self.newest_ts - HISTORY_MS)

    def _make_fit(self, ts: NDArray[np.int64], x: NDArray[np.float64]) -> None:
        hists = self.histograms
        newest_minute, newest_quarter = self.minutes.newest, hists.quarters.newest
        grows = scan(ts, x[: self.metrics], newest_minute, newest_minute, newest_quarter, newest_quarter, hists.fits)
        if grows:
            self._grow(ts, x)
        else:
            self.dirty_chunks.add(newest_minute // CHUNK_MINUTES)
        self.newest_ts = max(self.newest_ts, int(ts.max()))

    def _grow(self, ts: NDArray[np.int64], x: NDArray[np.float64]) -> None:
        minutes = np.unique(ts // MINUTE_MS)
        self.minutes.make_room(minutes)
        self.histograms.quarters.make_room(np.unique(minutes * MINUTE_MS // QUARTER_MS))
        self.dirty_chunks.update((minutes // CHUNK_MINUTES).tolist())
        first = int(ts.min())
        self.first_ts = first if self.first_ts < 0 else min(self.first_ts, first)
        for metric in range(min(self.metrics, len(x))):
            finite = x[metric][np.isfinite(x[metric])]
            if len(finite):
                self.histograms.make_bins(metric, float(finite.min()), float(finite.max()))
