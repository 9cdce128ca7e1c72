"""What is ordinary of a figure: at that hour of the day, and in busy stretches of the day before and of the calls that are held.

A morning has more calls than the night before it, and a session more than the pause: who follows the day explains nothing. Pure
reading; what that means for a change is `evidence`'s matter.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from services.detector.core.kernels.fold import MEAN, N
from services.detector.core.metrics import HISTORY_MS, METRICS, MINUTE_MS
from services.detector.core.signal.course import CALLS_SIGNAL
from services.detector.core.state.series import HOUR_MS, SeriesState
from services.detector.core.view import Float64, Int64

CALLS: Final = "calls_per_minute"
#: Stretches are as long as what they are compared with, at most so long.
STRETCH_MINUTES: Final = 30
#: Fewer say nothing; then shorter ones are taken. The share of them that a busy one is busier than.
FEWEST_STRETCHES: Final = 8
BUSY: Final = 0.9
#: What comes so shortly before may belong to what is explained; of a younger past, half of it.
LEAD_MINUTES: Final = 60
_HOURS: Final = 24
_SIGNALS: Final = {metric.name: number for number, metric in enumerate(METRICS)} | {CALLS: CALLS_SIGNAL}


class Stretches(NamedTuple):
    """A figure in the middle one of some stretches, and what only the busiest tenth of them exceed."""

    usual: float
    busy: float


class _Past(NamedTuple):
    """Minutes with calls, ascending; how many in each; and their sum of the figure (of calls: the same)."""

    minute: Int64
    calls: Float64
    total: Float64


def usual_at(series: SeriesState, name: str, start_ms: int, end_ms: int) -> float:
    """The most that is usual in any hour of the day that a span touches; 0 where it is not known, as of a quiet tool's calls."""
    hours = range(start_ms // HOUR_MS, min(end_ms, start_ms + HISTORY_MS) // HOUR_MS + 1)
    known = (series.signals.usual(series.row, _SIGNALS[name], hour % _HOURS) for hour in hours[:_HOURS])
    return max(known, default=0.0)


def stretches_before(series: SeriesState, name: str, start_ms: int, minutes: int) -> Stretches | None:
    """What is usual in stretches of so many minutes that have calls; None when too few are known."""
    past = _past(series, name, start_ms)
    longest = min(max(minutes, 1), STRETCH_MINUTES)
    while len(past.minute):
        found = _stretches(past, longest, per_minute=name == CALLS)
        if len(found) >= FEWEST_STRETCHES:
            return Stretches(*np.quantile(found, (0.5, BUSY)).tolist())
        if longest == 1:
            break
        longest //= 2
    return None


def _stretches(past: _Past, minutes: int, *, per_minute: bool) -> Float64:
    _, slots = np.unique((past.minute[-1] - past.minute) // minutes, return_inverse=True)
    calls, total = np.bincount(slots, past.calls), np.bincount(slots, past.total)
    return total / minutes if per_minute else total / calls


def _past(series: SeriesState, name: str, start_ms: int) -> _Past:
    """What is kept: minutes of the day before, and the calls before them that are held."""
    start = start_ms // MINUTE_MS
    first = start - HISTORY_MS // MINUTE_MS
    known = start - max(first, series.since() // MINUTE_MS)
    until = start - min(LEAD_MINUTES, (known + 1) // 2)
    metric = 0 if name == CALLS else _SIGNALS[name]
    rows = series.minutes.between(first, until - 1)
    calls = series.moments[rows, metric, N]
    some = calls > 0
    minute, calls, mean = series.minutes.index[rows][some], calls[some], series.moments[rows, metric, MEAN][some]
    older = _held(series, metric, int(minute[0]) if len(minute) else until)
    total = older.calls if name == CALLS else older.total
    return _Past(
        np.concatenate([older.minute, minute]),
        np.concatenate([older.calls, calls]),
        np.concatenate([total, calls if name == CALLS else calls * mean]),
    )


def _held(series: SeriesState, metric: int, until: int) -> _Past:
    """Of the calls that are held, those before a minute; the first minute may not be whole and is left out."""
    ts, x, _ = series.calls.between(0, until * MINUTE_MS - 1)
    some = np.isfinite(x[metric]) & (ts // MINUTE_MS > series.calls.dropped_ts // MINUTE_MS)
    minute, slots = np.unique(ts[some] // MINUTE_MS, return_inverse=True)
    return _Past(
        minute,
        np.bincount(slots, minlength=len(minute)).astype(np.float64),
        np.bincount(slots, x[metric][some], len(minute)).astype(np.float64),
    )
