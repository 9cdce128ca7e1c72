"""Changed throughput: many more calls than usual, or far fewer. That none come any more is `silence`'s matter, more than there
ever were `surges`'.

Pure; nothing here remembers.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core import severity
from services.detector.core.metrics import HISTORY_MS, MINUTE_MS, THROUGHPUT_CHANGE
from services.detector.core.signal.course import CALLS_SIGNAL
from services.detector.core.state.series import HOUR_MS, SeriesState
from services.detector.core.sweeps.findings import Finding, level_of
from services.detector.core.sweeps.silence import is_weekend
from services.detector.core.sweeps.surges import find_surge, may_be_surge
from services.detector.core.view import Minutes, minutes_of

#: Throughput needs a steady past: most of its half hours busy.
PACE_MS: Final = 30 * MINUTE_MS
MIN_PACES: Final = 6
MIN_PACE_CALLS: Final = 60.0
PACE_TIMES: Final = (4.0, 6.0, 10.0)
PACE_Z: Final = (5.0, 6.0, 8.0)
#: Likewise where it is known what is usual at this hour of the day, whose spread is this share of it.
HOUR_SPREAD: Final = 0.25
HOUR_TIMES: Final = (3.0, 4.0, 8.0)
HOUR_Z: Final = (2.5, 3.0, 3.4)
#: Days differ, and a weekend is calmer: fewer calls are fewer than the hours before had, measured by what was usual in those.
LATELY_HOURS: Final = 6
#: Times what is usual in an hour from which on it has seen a surge.
SURGED: Final = 1.5
#: Where these were of a working day, and it is weekend now, or the other way round, they must be fewer by this.
WEEKEND_TIMES: Final = (5.0, 8.0, 12.0)
#: Fewer calls are so in each part of the half hour, by this at least: what stopped in its midst is a silence.
PART_MS: Final = 10 * MINUTE_MS
PART_TIMES: Final = 2.0
#: Times the hours beside it that an hour has calls; and hours that one surge reaches.
PEAK_TIMES: Final = 1.5
SURGED_HOURS: Final = 3


def find_pace(series: SeriesState, end_ms: int) -> Finding | None:
    """Calls in the last half hour against what is usual, and far more than ever: whichever is the surer."""
    if series.first_ts < 0:
        return None
    past = max(end_ms - HISTORY_MS, series.since())
    paces = int((end_ms - past) // PACE_MS) - 1
    if paces < MIN_PACES:
        return None
    minutes = minutes_of(series, 0, (end_ms - (paces + 1) * PACE_MS) // MINUTE_MS, end_ms // MINUTE_MS)
    slot = np.minimum((end_ms - minutes.start) // PACE_MS, paces + 1)
    counts = np.asarray(np.bincount(slot, weights=minutes.n, minlength=paces + 2)[: paces + 1], np.float64)
    surge = find_surge(series, end_ms) if may_be_surge(counts) else None
    change = _find_change(series, end_ms, minutes, counts)
    return max((one for one in (surge, change) if one is not None), key=attrgetter("level"), default=None)


def _find_change(series: SeriesState, end_ms: int, minutes: Minutes, counts: NDArray[np.float64]) -> Finding | None:
    """Calls in the last half hour against what is usual at this hour of the day; until that is known against the half hours
    before, whose own spread is the measure, and of steady series only. `counts`: by half hour, the last one first.
    """
    now, before = float(counts[0]), counts[1:]
    hour = (end_ms - PACE_MS // 2) // HOUR_MS % 24
    by_hour = series.signals.usual(series.row, CALLS_SIGNAL, hour)
    usual = by_hour * (PACE_MS // MINUTE_MS) if by_hour else float(np.median(before))
    if usual < MIN_PACE_CALLS or (not by_hour and np.mean(before > usual / 4) < 0.8):
        return None
    if now < usual:
        if not _is_fewer(minutes, usual, end_ms):
            return None
        if by_hour:
            usual = min(usual, _beside(series, hour) * (PACE_MS // MINUTE_MS)) * _lately(series, minutes, end_ms)
        if usual < MIN_PACE_CALLS or not _is_fewer(minutes, usual, end_ms):
            return None
    away = 1.4826 * float(np.median(np.abs(before - usual)))
    spread = max(0.0 if by_hour else away, math.sqrt(usual), (HOUR_SPREAD if by_hour else 0.15) * usual)
    z = abs(now - usual) / spread
    times = now / usual if now > usual else usual / max(now, 1.0)
    least_times, least_z = (HOUR_TIMES, HOUR_Z) if by_hour else (PACE_TIMES, PACE_Z)
    if by_hour and now < usual and _is_other_day(end_ms):
        least_times = WEEKEND_TIMES
    level = level_of(lambda i: times >= least_times[i] and z >= least_z[i])
    if not level:
        return None
    return Finding(
        THROUGHPUT_CHANGE,
        "calls",
        "calls/30 min",
        end_ms - PACE_MS,
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


def _is_other_day(end_ms: int) -> bool:
    """Whether the hours before are of a working day and it is weekend now, or the other way round."""
    hours = end_ms // HOUR_MS
    before, now = is_weekend(np.array([hours - LATELY_HOURS, hours])).tolist()
    return bool(before != now)


def _beside(series: SeriesState, hour: int) -> float:
    """Calls a minute that an hour of the day has at most, by those to either side and by the busiest of the day: what is usual in
    one follows a single surge of calls in it for days.
    """
    usual = [series.signals.usual(series.row, CALLS_SIGNAL, (hour + k) % 24) for k in range(-1, 23)]
    return PEAK_TIMES * min(max(usual[0], usual[2]), sorted(usual)[-SURGED_HOURS - 1])


def _lately(series: SeriesState, minutes: Minutes, end_ms: int) -> float:
    """Calls of the hours before this half hour, as a share of what was usual in those, at most 1: without those of a surge, which
    say nothing of the day.
    """
    first = (end_ms - PACE_MS) // HOUR_MS - LATELY_HOURS
    usual = [series.signals.usual(series.row, CALLS_SIGNAL, (first + k) % 24) for k in range(LATELY_HOURS)]
    expected = np.array(usual) * (HOUR_MS // MINUTE_MS)
    hour = minutes.start // HOUR_MS - first
    chosen = (hour >= 0) & (hour < LATELY_HOURS)
    calls = np.bincount(hour[chosen], minutes.n[chosen], LATELY_HOURS)
    ordinary = calls <= SURGED * expected
    total = float(expected[ordinary].sum())
    return min(1.0, float(calls[ordinary].sum()) / total) if total > 0 else 1.0


def _is_fewer(minutes: Minutes, usual: float, end_ms: int) -> bool:
    """Whether every part of the half hour had fewer calls, and the half hour some."""
    part = (end_ms - 1 - minutes.start) // PART_MS
    parts = PACE_MS // PART_MS
    counts = np.bincount(part[(part >= 0) & (part < parts)], minutes.n[(part >= 0) & (part < parts)], parts)
    return bool(counts.any()) and bool((counts <= usual / parts / PART_TIMES).all())
