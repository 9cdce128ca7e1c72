"""A span of a series' past by its minutes' summaries. Pure reading. A minute counts as inside when it begins inside."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.fold import AT, HIGH, LOW, M2, MEAN, N
from services.detector.core.metrics import MINUTE_MS
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


def combined(minutes: Minutes) -> Moments:
    """Moments of all calls of several minutes (Chan, Golub, LeVeque 1979)."""
    n = float(minutes.n.sum())
    if n == 0:
        return Moments(0, math.nan, math.nan)
    mean = float((minutes.n * minutes.mean).sum() / n)
    m2 = float(minutes.m2.sum() + (minutes.n * (minutes.mean - mean) ** 2).sum())
    return Moments(int(n), mean, math.sqrt(max(m2, 0.0) / n))
