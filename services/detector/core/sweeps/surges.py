"""Surges: far more calls in half an hour than a tool ever had in one, as of an agent that goes round in circles.

Whatever its pace, a tool is compared with its own busiest half hours: of the kept day, of its latest calls (which reach back for
days where a tool is called seldom), and of all hours of the day by what is usual in them. Calls come in clumps, so that a mean
says little of what is possible, the busiest does. Pure; nothing here remembers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core import severity
from services.detector.core.kernels.fold import N
from services.detector.core.metrics import HISTORY_MS, MINUTE_MS, THROUGHPUT_CHANGE
from services.detector.core.signal.course import CALLS_SIGNAL
from services.detector.core.state.series import SeriesState
from services.detector.core.sweeps.findings import Finding, level_of
from shared.timespan import DAY_MS

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

#: Calls are counted by the half hour.
WINDOW: Final = 30
#: How long a surge may have gone on, in minutes; what goes on for longer is what is usual.
LASTING: Final = 6 * 60
#: Fewer calls are no surge, nor are those of a tool that nobody knows: for so long, in so many half hours with calls.
FEWEST_CALLS: Final = 60.0
KNOWN_MS: Final = DAY_MS
FEWEST_KNOWN: Final = 6
#: Times the busiest half hour, by level; where few are known by so much more as this is of their number.
TIMES: Final = (2.0, 2.5, 5.0)
DOUBT: Final = 6.0
#: Of the busiest half hour: how much others may be beyond it.
SPREAD: Final = 0.25
#: Minutes that tell when it was over, by this share of the most calls in as many.
PART: Final = 5
STILL: Final = 0.5
_HOURS = 24
#: A rate whose logarithm is finite.
_NEVER = 1e-9


@dataclass(frozen=True, slots=True)
class Surge:
    """Calls of the last half hour; since when and until when (epoch ms) they come so often; of the half hours before calls of the
    busiest, of the usual one that has calls, and how many had.
    """

    now: float
    start_ms: int
    last_ms: int
    busiest: float
    usual: float
    known: int


def may_be_surge(counts: Float64) -> bool:
    """Whether there are many more calls than in any half hour that cannot be part of the same surge. `counts`: by half hour, the
    last one first.
    """
    past = counts[LASTING // WINDOW + 1 :]
    return bool(counts[0] >= FEWEST_CALLS and counts[0] >= TIMES[0] * past.max(initial=0.0))


def find_surge(series: SeriesState, end_ms: int) -> Finding | None:
    """That there are far more calls than ever, until `end_ms`."""
    if series.first_ts < 0 or end_ms - series.first_ts < KNOWN_MS:
        return None
    surge = surge_of(series, end_ms)
    if surge.now < FEWEST_CALLS or surge.known < FEWEST_KNOWN:
        return None
    times = surge.now / surge.busiest / (1.0 + DOUBT / surge.known)
    level = level_of(lambda i: times >= TIMES[i])
    if not level:
        return None
    return Finding(
        THROUGHPUT_CHANGE,
        "calls",
        "calls/30 min",
        surge.start_ms,
        surge.last_ms,
        surge.last_ms,
        surge.now,
        surge.now,
        surge.usual,
        0.0,
        surge.busiest,
        int(surge.now),
        level,
        severity.from_distance((surge.now / surge.busiest - 1.0) / SPREAD),
        "warning" if level >= len(TIMES) else "info",
        "pace",
    )


def is_usual_now(series: SeriesState, start_ms: int, value: float, end_ms: int) -> bool:
    """Whether calls have come so often for long and still do, about `value` in half an hour."""
    if end_ms - start_ms < LASTING * MINUTE_MS:
        return False
    rows = series.minutes.between(end_ms // MINUTE_MS - WINDOW, end_ms // MINUTE_MS - 1)
    return float(series.moments[rows, 0, N].sum()) >= STILL * value


def surge_of(series: SeriesState, end_ms: int) -> Surge:
    """The last half hour beside those before the calls became more."""
    end = end_ms // MINUTE_MS
    minutes, counts = calls_by_minute(series, end)
    start = _start(minutes, counts, end)
    past = minutes < start
    sums = _sums(minutes[past], counts[past], WINDOW)
    # What is usual in an hour follows the calls in it at once.
    hours = range((end - 1) // 60 + 1, start // 60 + _HOURS)
    of_hours = [series.signals.usual(series.row, CALLS_SIGNAL, hour % _HOURS) for hour in hours]
    halves = np.bincount((minutes[past] - minutes[0]) // WINDOW, counts[past]) if past.any() else np.zeros(0)
    halves = halves[halves > 0]
    return Surge(
        float(counts[minutes >= end - WINDOW].sum()),
        start * MINUTE_MS,
        _last(minutes[~past], counts[~past], end) * MINUTE_MS,
        max(1.0, float(sums.max(initial=0.0)), WINDOW * max(of_hours, default=0.0)),
        float(np.median(halves)) if len(halves) else 0.0,
        len(halves),
    )


def calls_by_minute(series: SeriesState, end: int) -> tuple[Int64, Float64]:
    """Minutes (since 1970) before `end` with calls, ascending, and how many: of the day, and of the latest calls before that."""
    rows = series.minutes.between(end - HISTORY_MS // MINUTE_MS - WINDOW, end - 1)
    kept: Int64 = series.minutes.index[rows]
    ts, _, _ = series.calls.in_order()
    latest = ts // MINUTE_MS
    older, counts = np.unique(latest[latest < (kept[0] if len(kept) else end)], return_counts=True)
    return np.concatenate([older, kept]), np.concatenate([counts.astype(np.float64), series.moments[rows, 0, N]])


def _sums(minutes: Int64, counts: Float64, width: int) -> Float64:
    """Calls of so many minutes, those that end with each of the minutes."""
    total = np.concatenate(([0.0], np.cumsum(counts)))
    sums: Float64 = total[1:] - total[np.searchsorted(minutes, minutes - (width - 1))]
    return sums


def _last(minutes: Int64, counts: Float64, end: int) -> int:
    """The end of the latest minute that still had many calls; `end` where there are none."""
    sums = _sums(minutes, counts, PART)
    many = np.flatnonzero(sums >= STILL * sums.max(initial=0.0))
    return int(minutes[many[-1]]) + 1 if len(many) else end


def _start(minutes: Int64, counts: Float64, end: int) -> int:
    """The minute since which calls most likely come more often (of two Poisson rates), LASTING before `end` at the earliest."""
    first = end - LASTING
    lately = minutes >= first
    if not lately.any():
        return end
    total = np.concatenate(([0.0], np.cumsum(np.bincount(minutes[lately] - first, counts[lately], LASTING))))
    at = np.arange(1, LASTING)
    before, after = total[at], total[-1] - total[at]
    rate, later = before / at, after / (LASTING - at)
    likely = before * np.log(np.maximum(rate, _NEVER)) + after * np.log(np.maximum(later, _NEVER))
    likely[later <= rate] = -np.inf
    return first + (int(at[np.argmax(likely)]) if np.isfinite(likely).any() else 0)
