"""A span of a series' past: its calls exactly where they are still held, else by minutes and histograms.

Pure reading; owns how the two are put together. A minute counts as inside when it begins inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.bins import quantile
from services.detector.core.kernels.fold import AT, HIGH, LOW, M2, MEAN, N
from services.detector.core.metrics import MINUTE_MS, QUARTER_MS
from services.detector.core.state.series import SeriesState

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and population standard deviation."""

    n: int
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Minutes:
    """Minute summaries of one metric, only minutes that have any: start i64, and f64 columns."""

    start: Int64
    n: Float64
    mean: Float64
    m2: Float64
    low: Float64
    high: Float64
    high_at: Int64

    def __len__(self) -> int:
        return len(self.start)

    def before(self, start_ms: int) -> Minutes:
        """The minutes that begin before a time."""
        n = int(np.searchsorted(self.start, start_ms))
        if n == len(self):
            return self
        return Minutes(
            self.start[:n], self.n[:n], self.mean[:n], self.m2[:n], self.low[:n], self.high[:n], self.high_at[:n]
        )


class Span:
    """One metric of one series from `start_ms` to `end_ms`. `exact`: every call of it is in `ts` and `x` (ascending)."""

    __slots__ = ("_minutes", "end_ms", "exact", "metric", "series", "start_ms", "ts", "x")

    def __init__(
        self, series: SeriesState, metric: int, start_ms: int, end_ms: int, held: tuple[Int64, Float64] | None = None
    ) -> None:
        """`held`: (ts, x[metrics, n]) of the calls from start to end, if they were looked up before."""
        self.series = series
        self.metric = metric
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.exact = series.calls.covers(start_ms)
        self._minutes: Minutes | None = None
        ts, x = series.calls.between(start_ms, end_ms)[:2] if held is None else held
        measured = np.isfinite(x[metric])
        whole = bool(measured.all())
        self.ts: Int64 = ts if whole else ts[measured]
        self.x: Float64 = np.ascontiguousarray(x[metric]) if whole else x[metric][measured]

    def minutes(self, before_ms: int | None = None) -> Minutes:
        """The minutes of the span, or only those that end before `before_ms`."""
        if self._minutes is None:
            first, last = -(-self.start_ms // MINUTE_MS), self.end_ms // MINUTE_MS
            self._minutes = minutes_of(self.series, self.metric, first, last)
        return self._minutes if before_ms is None else self._minutes.before(before_ms // MINUTE_MS * MINUTE_MS)

    def moments(self) -> Moments:
        """Count, mean and deviation of all calls of the span."""
        if self.exact:
            return moments_of(self.x)
        return combined(self.minutes())

    def quantile(self, q: float) -> float:
        """The nearest-rank quantile: of the calls, or of whole quarter hours within 2 %; NaN without calls."""
        if self.exact:
            return nearest_rank(self.x, q)
        hists = self.series.histograms
        window = hists.window(self.metric, self.start_ms // QUARTER_MS, self.end_ms // QUARTER_MS)
        return quantile(window, int(hists.lows[self.metric]), q)


def minutes_of(series: SeriesState, metric: int, first_minute: int, last_minute: int) -> Minutes:
    """The minutes first … last in which the metric was measured."""
    rows = series.minutes.between(first_minute, last_minute)
    part = series.moments[rows, metric]
    start = series.minutes.index[rows] * MINUTE_MS
    some = part[:, N] > 0
    if not some.all():
        start, part = start[some], part[some]
    return Minutes(
        start, part[:, N], part[:, MEAN], part[:, M2], part[:, LOW], part[:, HIGH], part[:, AT].astype(np.int64)
    )


def moments_of(x: Float64) -> Moments:
    """Moments of finite values; scaled first, so that squares of large ones stay finite."""
    if not len(x):
        return Moments(0, math.nan, math.nan)
    scale = float(np.max(np.abs(x)))
    if scale == 0.0:
        return Moments(len(x), 0.0, 0.0)
    scaled = x / scale
    return Moments(len(x), float(scaled.mean()) * scale, float(scaled.std()) * scale)


def combined(minutes: Minutes) -> Moments:
    """Moments of all calls of several minutes (Chan, Golub, LeVeque 1979)."""
    n = float(minutes.n.sum())
    if n == 0:
        return Moments(0, math.nan, math.nan)
    mean = float((minutes.n * minutes.mean).sum() / n)
    m2 = float(minutes.m2.sum() + (minutes.n * (minutes.mean - mean) ** 2).sum())
    return Moments(int(n), mean, math.sqrt(max(m2, 0.0) / n))


def nearest_rank(x: Float64, q: float) -> float:
    """The smallest value that at least q of the values do not exceed."""
    if not len(x):
        return math.nan
    rank = max(1, math.ceil(q * len(x) - 1e-9))
    return float(np.partition(x, rank - 1)[rank - 1])
