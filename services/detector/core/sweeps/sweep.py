"""What a look at one call at a time cannot see: leaks here, lasting shifts (`shifts`), silence and changed throughput besides.

Each function looks at one series' last hours and returns a finding or None; nothing here remembers. A finding's level is that
of the least sensitive setting that would report it. All are conservative: they need many calls in many minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core import severity
from services.detector.core.kernels.query import trend
from services.detector.core.metrics import (
    HISTORY_MS,
    MEMORY,
    METRICS,
    MINUTE_MS,
    RESOURCE_LEAK,
)
from services.detector.core.state.series import SeriesState
from services.detector.core.sweeps.findings import Finding, level_of
from services.detector.core.sweeps.rise import FEWEST_RISING, Course, Rise, rise_of
from services.detector.core.sweeps.shifts import find_shift
from services.detector.core.sweeps.silence import find_silence
from services.detector.core.sweeps.throughput import find_pace
from services.detector.core.view import Minutes, minutes_of

#: How far the five-minute sweep looks back.
SWEEP_MS: Final = 6 * 3_600_000

RECENT_MS: Final = 30 * MINUTE_MS

#: A leak needs memory in this many ten-minute blocks over this long.
BLOCK_MS: Final = 10 * MINUTE_MS
MIN_BLOCKS: Final = 9
MIN_LEAK_SPAN_MS: Final = 90 * MINUTE_MS
LEAK_GROWTH: Final = (0.2, 0.35, 0.6)
LEAK_TAU: Final = (0.6, 0.7, 0.8)
MIN_LEAK_MB: Final = 16.0
LEAK_P: Final = 1e-4
#: Memory that is none: what grows from it has grown beyond measure.
NO_MEMORY_MB: Final = 1e-6
#: What grows into its place slows down: the last third must grow at this share of the pace of the whole.
LEAK_GOES_ON: Final = 0.6
#: A leak leaves what was usual the day before behind.
LEAK_BEYOND: Final = 1.1
#: Or it leaves the middle of that day so many times behind, whatever there was besides.
LEAK_AGAIN: Final = 2.0
#: What is usual is told by the minutes of so long before it began to grow, at least so many.
USUAL_MS: Final = 2 * 3_600_000
FEWEST_BEFORE: Final = 5
#: Minutes of the day before that may have been higher.
LEAK_OUTLIERS: Final = 0.01


def sweep(series: SeriesState, end_ms: int) -> Iterator[Finding]:
    """All lasting conditions of a series at `end_ms`."""
    for look in (find_shift, find_leak, find_silence, find_pace):
        finding = look(series, end_ms)
        if finding is not None:
            yield finding


def find_leak(series: SeriesState, end_ms: int) -> Finding | None:
    """Memory that grows without cease: Theil–Sen slope over ten-minute means, Kendall's tau, and the Mann–Kendall test."""
    if series.metrics <= METRICS.index(MEMORY):
        return None
    minutes = minutes_of(series, METRICS.index(MEMORY), (end_ms - SWEEP_MS) // MINUTE_MS, end_ms // MINUTE_MS)
    if not len(minutes) or end_ms - minutes.start[-1] > RECENT_MS:
        return None
    t, y = _blocks(minutes)
    n = len(t)
    if n < MIN_BLOCKS or t[-1] - t[0] < MIN_LEAK_SPAN_MS:
        return None
    slope, score = trend(t, y)
    tau = score / (n * (n - 1) / 2)
    z = (score - 1) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    p = severity.normal_tail(z)
    grown = slope * (t[-1] - t[0])
    start_level = float(np.median(y[: max(3, n // 4)]))
    share = grown / start_level if start_level > NO_MEMORY_MB else math.inf
    # A step is not a leak: growth must be spread over the time.
    steps = np.diff(y)
    if grown < MIN_LEAK_MB or p > LEAK_P or float(steps.max()) > 0.5 * float(y[-1] - y[0]):
        return None
    level = level_of(lambda i: share >= LEAK_GROWTH[i] and tau >= LEAK_TAU[i])
    if not level or not _goes_on(t, y, slope) or not _is_new(series, int(t[0]), float(y.max())):
        return None
    rise = rise_of(lambda span_ms: _course(series, end_ms - span_ms, end_ms), SWEEP_MS, BLOCK_MS)
    median, lower, upper = _before(series, rise)
    since = t >= rise.start_ms
    if np.count_nonzero(since) >= FEWEST_RISING:
        slope = trend(t[since], y[since])[0]
    return Finding(
        RESOURCE_LEAK,
        MEMORY.name,
        MEMORY.unit,
        max(rise.start_ms, series.first_ts),
        min(series.newest_ts, end_ms),
        int(minutes.high_at[int(np.argmax(minutes.high))]),
        float(y[-1]),
        float(y[-1]),
        median,
        lower,
        upper,
        n,
        level,
        severity.from_tail(p, severity.LOOKS / n),
        "warning" if share < 3.0 or grown < MEMORY.grave_excess else "critical",
        "theil-sen",
        slope * 3_600_000,
    )


def _course(series: SeriesState, start_ms: int, end_ms: int) -> Course:
    return _blocks(minutes_of(series, METRICS.index(MEMORY), start_ms // MINUTE_MS, end_ms // MINUTE_MS))


def _before(series: SeriesState, rise: Rise) -> tuple[float, float, float]:
    """What was usual before memory began to grow, its median and band; the line's beginning where hardly any is known."""
    first, last = (rise.start_ms - USUAL_MS) // MINUTE_MS, rise.start_ms // MINUTE_MS - 1
    before = minutes_of(series, METRICS.index(MEMORY), first, last)
    if len(before) < FEWEST_BEFORE:
        return rise.level, max(0.0, rise.level - rise.spread), rise.level + rise.spread
    lower, upper = float(np.quantile(before.low, 0.05)), float(np.quantile(before.high, 0.95))
    return float(np.median(before.mean)), lower, upper


def _goes_on(t: NDArray[np.float64], y: NDArray[np.float64], slope: float) -> bool:
    """Whether memory grows as fast at the end as before: a program that warms up slows down."""
    last = t >= t[-1] - (t[-1] - t[0]) / 3
    return trend(t[last], y[last])[0] >= LEAK_GOES_ON * slope


def _is_new(series: SeriesState, start_ms: int, highest: float) -> bool:
    """Whether memory is beyond all it was in the day before it began to grow, for what grows back after a restart is not; or far
    beyond what it mostly was, for what leaked yesterday may leak again.
    """
    before = minutes_of(
        series, METRICS.index(MEMORY), (start_ms - HISTORY_MS) // MINUTE_MS, start_ms // MINUTE_MS - 1
    ).mean
    if not len(before) or highest >= LEAK_BEYOND * float(np.quantile(before, 1.0 - LEAK_OUTLIERS)):
        return True
    return highest >= LEAK_AGAIN * float(np.median(before))


def _blocks(minutes: Minutes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Start (ms) and mean of each ten-minute block that has calls."""
    block = minutes.start // BLOCK_MS
    _, place = np.unique(block, return_inverse=True)
    n = np.bincount(place, weights=minutes.n)
    total = np.bincount(place, weights=minutes.n * minutes.mean)
    return np.unique(block).astype(np.float64) * BLOCK_MS, total / n
