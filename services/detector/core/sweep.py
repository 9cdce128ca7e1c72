"""What a look at one call at a time cannot see: lasting shifts, leaks, changed throughput.

Each function looks at one series' last hours and returns a finding or None; nothing here remembers. A finding's level is that
of the least sensitive setting that would report it. All are conservative: they need many calls in many minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core import severity
from services.detector.core.events import Severity
from services.detector.core.kernels.bins import quantile, rank_bin
from services.detector.core.kernels.query import trend
from services.detector.core.metrics import (
    HISTORY_MS,
    MEMORY,
    METRICS,
    MINUTE_MS,
    QUARTER_MS,
    RESOURCE_LEAK,
    RESPONSE_TIME,
    RESPONSE_TIME_SHIFT,
    THROUGHPUT_CHANGE,
)
from services.detector.core.state.series import SeriesState
from services.detector.core.view import Minutes, minutes_of

#: How far the five-minute sweep looks back.
SWEEP_MS: Final = 6 * 3_600_000

#: A shift compares the recent calls with those before.
RECENT_MS: Final = 30 * MINUTE_MS
MIN_RECENT_CALLS: Final = 12
MIN_RECENT_MINUTES: Final = 8
MIN_BEFORE_CALLS: Final = 40
#: The latest minutes must show the new level still.
LATEST_MINUTES: Final = 8
#: A tool with fewer recent calls is judged by its latest this many.
LATEST_CALLS: Final = 16
SHIFT_TIMES: Final = (1.3, 1.5, 2.0)
SHIFT_P: Final = (1e-4, 1e-6, 1e-8)

#: A leak needs memory in this many ten-minute blocks over this long.
BLOCK_MS: Final = 10 * MINUTE_MS
MIN_BLOCKS: Final = 9
MIN_LEAK_SPAN_MS: Final = 90 * MINUTE_MS
LEAK_GROWTH: Final = (0.15, 0.25, 0.5)
LEAK_TAU: Final = (0.6, 0.7, 0.8)
MIN_LEAK_MB: Final = 16.0
LEAK_P: Final = 1e-4

#: Throughput needs a steady past: most of its half hours busy.
PACE_MS: Final = 30 * MINUTE_MS
MIN_PACES: Final = 6
MIN_PACE_CALLS: Final = 60.0
PACE_TIMES: Final = (4.0, 6.0, 10.0)
PACE_Z: Final = (5.0, 6.0, 8.0)


@dataclass(frozen=True, slots=True)
class Finding:
    """A lasting condition: type and metric, since when, the level now and before, and how sure. `per_hour`: growth, of leaks."""

    type: str
    metric: str
    unit: str
    start_ms: int
    last_ms: int
    peak_ms: int
    value: float
    typical: float
    median: float
    lower: float
    upper: float
    points: int
    level: int
    confidence: float
    severity: Severity
    method: str
    per_hour: float = 0.0


def sweep(series: SeriesState, end_ms: int) -> Iterator[Finding]:
    """All lasting conditions of a series at `end_ms`."""
    for look in (find_shift, find_leak, find_pace):
        finding = look(series, end_ms)
        if finding is not None:
            yield finding


def find_shift(series: SeriesState, end_ms: int) -> Finding | None:
    """The recent calls' median against that of the calls before, with a sign test: under no change half of the recent calls lie
    above the old median.
    """
    recent_ms = _recent_start(series, end_ms)
    if recent_ms is None:
        return None
    recent, before = _samples(series, recent_ms, end_ms)
    calls, old_calls = float(recent.sum()), float(before.sum())
    if calls < MIN_RECENT_CALLS or old_calls < MIN_BEFORE_CALLS:
        return None
    low = int(series.histograms.lows[0])
    median, now = quantile(before, low, 0.5), quantile(recent, low, 0.5)
    if now - median < RESPONSE_TIME.margin_excess or median <= 0:
        return None
    higher = float(recent[rank_bin(before, old_calls / 2) + 1 :].sum())
    # Neighbouring calls resemble each other: as if only every second said something new.
    p = severity.binomial_tail(int(higher / 2), int(calls / 2), 0.5)
    level = _level(lambda i: now / median >= SHIFT_TIMES[i] and p <= SHIFT_P[i])
    if not level:
        return None
    upper = max(quantile(before, low, 0.9), median * SHIFT_TIMES[0])
    minutes = minutes_of(series, 0, (end_ms - SWEEP_MS) // MINUTE_MS, end_ms // MINUTE_MS)
    between = math.sqrt(now * median)
    if not len(minutes) or float(np.median(minutes.mean[-LATEST_MINUTES:])) < between:
        return None  # it was so, and is no longer
    start_ms, peak_ms = _rise(minutes, between)
    return Finding(
        RESPONSE_TIME_SHIFT,
        RESPONSE_TIME.name,
        RESPONSE_TIME.unit,
        start_ms,
        min(series.newest_ts, end_ms),
        peak_ms,
        now,
        now,
        median,
        quantile(before, low, 0.05),
        upper,
        int(higher),
        level,
        severity.from_tail(p, severity.LOOKS),
        severity.of_deviation(RESPONSE_TIME, now, median, median),
        "median-shift",
    )


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
    share = grown / start_level if start_level > 0 else math.inf
    # A step is not a leak: growth must be spread over the time.
    steps = np.diff(y)
    if grown < MIN_LEAK_MB or p > LEAK_P or float(steps.max()) > 0.5 * float(y[-1] - y[0]):
        return None
    level = _level(lambda i: share >= LEAK_GROWTH[i] and tau >= LEAK_TAU[i])
    if not level:
        return None
    spread = float(np.abs(y - (np.median(y - slope * t) + slope * t)).max())
    return Finding(
        RESOURCE_LEAK,
        MEMORY.name,
        MEMORY.unit,
        int(t[0]),
        min(series.newest_ts, end_ms),
        int(minutes.high_at[int(np.argmax(minutes.high))]),
        float(y[-1]),
        float(y[-1]),
        start_level,
        max(0.0, start_level - spread),
        start_level + spread,
        n,
        level,
        severity.from_tail(p, severity.LOOKS / n),
        "warning" if share < 3.0 or grown < MEMORY.grave_excess else "critical",
        "theil-sen",
        slope * 3_600_000,
    )


def find_pace(series: SeriesState, end_ms: int) -> Finding | None:
    """Calls in the last half hour against the half hours before, whose own spread is the measure; only steady series."""
    if series.first_ts < 0:
        return None
    past = max(end_ms - HISTORY_MS, series.since())
    paces = int((end_ms - past) // PACE_MS) - 1
    if paces < MIN_PACES:
        return None
    minutes = minutes_of(series, 0, (end_ms - (paces + 1) * PACE_MS) // MINUTE_MS, end_ms // MINUTE_MS)
    slot = np.minimum((end_ms - minutes.start) // PACE_MS, paces + 1)
    counts = np.bincount(slot, weights=minutes.n, minlength=paces + 2)[: paces + 1]
    now, before = float(counts[0]), counts[1:]
    usual = float(np.median(before))
    if usual < MIN_PACE_CALLS or np.mean(before > usual / 4) < 0.8:
        return None
    spread = max(1.4826 * float(np.median(np.abs(before - usual))), math.sqrt(usual), 0.15 * usual)
    z = abs(now - usual) / spread
    times = now / usual if now > usual else usual / max(now, 1.0)
    level = _level(lambda i: times >= PACE_TIMES[i] and z >= PACE_Z[i])
    if not level:
        return None
    start_ms = end_ms - PACE_MS if now else max(series.newest_ts, end_ms - PACE_MS)
    return Finding(
        THROUGHPUT_CHANGE,
        "calls",
        "calls/30 min",
        start_ms,
        end_ms,
        end_ms,
        now,
        now,
        usual,
        float(before.min()),
        float(before.max()),
        int(now),
        level,
        # Half hours are few and seldom normal: a bound that asks nothing of their distribution.
        severity.from_distance(z),
        "warning" if now >= 10 * usual else "info",
        "pace",
    )


def _level(passes: Callable[[int], bool]) -> int:
    """The least sensitive level that passes, each needing those below it."""
    level = 0
    for i in range(3):
        if not passes(i):
            break
        level = i + 1
    return level


def _recent_start(series: SeriesState, end_ms: int) -> int | None:
    """Where the recent calls begin: a quarter-hour boundary, so that histograms can be told apart."""
    start = (end_ms - RECENT_MS) // QUARTER_MS * QUARTER_MS
    minutes = series.minutes.between(start // MINUTE_MS, end_ms // MINUTE_MS)
    calls = float(series.moments[minutes, 0, 0].sum())
    if calls >= MIN_RECENT_CALLS:
        return start if minutes.stop - minutes.start >= MIN_RECENT_MINUTES else None
    ts = series.calls.between(end_ms - SWEEP_MS, end_ms)[0]
    return int(ts[-LATEST_CALLS]) // QUARTER_MS * QUARTER_MS if len(ts) > LATEST_CALLS else None


def _samples(series: SeriesState, recent_ms: int, end_ms: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Histograms of the recent calls, and of those before within a day."""
    first = recent_ms // QUARTER_MS
    recent = series.histograms.window(0, first, end_ms // QUARTER_MS)
    before = series.histograms.window(0, (end_ms - HISTORY_MS) // QUARTER_MS, first - 1)
    return recent, before


def _rise(minutes: Minutes, between: float) -> tuple[int, int]:
    """When the level rose, and its worst minute: after the last ten minutes of which most were below `between`."""
    low = np.convolve(minutes.mean < between, np.ones(10) / 10, "full")[: len(minutes)]
    lows = np.flatnonzero(low > 0.5)
    after = int(lows[-1]) if len(lows) else 0
    # The rise itself is among those ten.
    below = np.flatnonzero(minutes.mean[: after + 1] < between)
    after = min(int(below[-1]) + 1 if len(below) else 0, len(minutes) - 1)
    return int(minutes.start[after]), int(minutes.start[after + int(np.argmax(minutes.mean[after:]))])


def _blocks(minutes: Minutes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Start (ms) and mean of each ten-minute block that has calls."""
    block = minutes.start // BLOCK_MS
    _, place = np.unique(block, return_inverse=True)
    n = np.bincount(place, weights=minutes.n)
    total = np.bincount(place, weights=minutes.n * minutes.mean)
    return np.unique(block).astype(np.float64) * BLOCK_MS, total / n
