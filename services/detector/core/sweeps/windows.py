"""The windows over which a series' calls are compared, and with what: `shifts` judges them.

Of a tool whose calls of half a day are kept, the latest 4, 5, 6, 8 ... calls, however long these took: with all before, and with
those right before, for what was long ago may have been trouble too. Of a busy tool, the latest calls and quarter hours, with a
day. What is usual at the time of day is taken off the calls (`latest`) where they are of many days; where they are of one or
two, the same time of the day before must be left behind as well. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.screen import compare_all, compare_latest
from services.detector.core.kernels.shift import normal_scores
from services.detector.core.metrics import HISTORY_MS, MINUTE_MS, QUARTER_MS
from services.detector.core.state.series import HOUR_MS, SeriesState
from services.detector.core.sweeps.latest import (
    DAY_MS,
    FEWEST_IDLE,
    IDLE_MS,
    KEPT_MS,
    UNKNOWN_WANDERING,
    UNLEARNED,
    Latest,
    wandering,
)

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: Windows: latest calls; quarter hours (besides the one under way) of a busy tool.
CALLS: Final = (4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
QUARTERS: Final = (1, 2, 4, 8, 16, 24)
MIN_BEFORE_CALLS: Final = 20
#: How much less sure a shift may be by a window's other comparisons than by its own.
LENIENT: Final = 2.0
#: Calls right before a window, at least; else twice as many as in it.
RIGHT_BEFORE_CALLS: Final = 24
#: Calls at the same time of the day before that tell what is usual then; how much earlier and later they may be; windows that
#: are most of a day need none.
FEWEST_YESTERDAY: Final = 16
YESTERDAY_MS: Final = 30 * MINUTE_MS
MOST_OF_DAY_MS: Final = 20 * HOUR_MS
#: Calls of a quarter hour, and such quarters, that tell how much a busy tool's level wanders.
FEWEST_OF_QUARTER: Final = 4
FEWEST_QUARTERS: Final = 8
#: What the time of day counts for, as logarithms, from and to: where calls are compared with a day; where no more is known of the
#: time of day than what was usual at it; and where calls tell it by themselves.
DAY_SEASON: Final = (math.log(0.75), math.inf)
SOME_SEASON: Final = (0.0, 0.3)
NO_SEASON: Final = (0.0, 0.0)
#: By how much, of deviations and of logarithms, the quick look at a busy tool may differ from the thorough one.
ROUGHLY: Final = (0.1, 0.03)
_CALLS: Final = np.array(CALLS)
_QUARTERS: Final = np.array(QUARTERS)


@dataclass(frozen=True, slots=True)
class Window:
    """Histograms (over the series' bins) of the calls since `start_ms`, of those they are compared with, and of `others` that
    they must lie above as well, if less surely. `wandering`: variance of the level by itself, in normal scores; `season`: the
    least and the most that the time of day may count for, as logarithms.
    """

    start_ms: int
    recent: Float64
    before: Float64
    wandering: float
    season: tuple[float, float] = NO_SEASON
    others: tuple[Float64, ...] = ()


def windows(series: SeriesState, latest: Latest, end_ms: int, sure: float) -> Iterator[Window]:
    """The windows that end at a time, from short to long; none where the calls of none may lie higher, so surely at least."""
    if series.calls.covers(end_ms - KEPT_MS):
        return _of_calls(series, latest, end_ms, sure)
    return _of_busy(series, latest, end_ms)


def may_have_risen(series: SeriesState, end_ms: int, sure: float) -> bool:
    """Whether calls of any window may lie higher than others, so surely at least: of a busy tool a quick look tells."""
    if series.calls.covers(end_ms - KEPT_MS):
        return True
    calls, hists, last = series.calls, series.histograms, end_ms // QUARTER_MS
    out = np.zeros((len(CALLS) + len(QUARTERS), 4))
    idle = compare_all(
        calls.ts,
        calls.x[0],
        calls.filled,
        calls.following,
        end_ms,
        end_ms - 2 * HISTORY_MS,
        IDLE_MS,
        hists.quarters.index,
        hists.quarters.filled,
        hists.counts,
        int(hists.starts[1]),
        int(hists.lows[0]),
        last,
        _CALLS,
        _QUARTERS,
        QUARTERS[-1] + HISTORY_MS // QUARTER_MS,
        MIN_BEFORE_CALLS,
        round(1.0 / UNLEARNED),
        out,
    )
    # What idle time makes of calls this does not know; a value may be at a bin's edge.
    return idle >= FEWEST_IDLE or bool(np.any((out[:, 0] >= sure - ROUGHLY[0]) & (out[:, 1] > -ROUGHLY[1])))


def season(series: SeriesState, window: Window, end_ms: int) -> float:
    """ln of how much more is usual in the hours from a window's start to its end than in a day."""
    first, last = window.start_ms // HOUR_MS, end_ms // HOUR_MS
    if window.season == NO_SEASON or last - first >= MOST_OF_DAY_MS // HOUR_MS:
        return 0.0
    hours = [series.signals.season(series.row, 0, hour % 24) for hour in range(first, last + 1)]
    known = [times for times in hours if times > 0]
    least, most = window.season
    return min(max(math.log(sum(known) / len(known)), least), most) if known else 0.0


def _of_calls(series: SeriesState, latest: Latest, end_ms: int, sure: float) -> Iterator[Window]:
    size = len(series.histograms.base_of(0))
    usual = np.flatnonzero(latest.usual)
    over = len(latest.usual) - int(np.argmin(latest.usual[::-1])) if len(usual) < len(latest.usual) else 0
    out = np.zeros((len(CALLS), 3, 2))
    compare_latest(latest.bins, usual, size, max(over, MIN_BEFORE_CALLS), _CALLS, RIGHT_BEFORE_CALLS, 2, out)
    if not np.any((out[:, :, 0] >= sure) & (out[:, :, 1] > 0.0)):
        return
    level = latest.wandering
    for start_ms, first, recent in _latest(latest, size, end_ms):
        if first < over:
            return  # what is over would be told of once more
        earlier = latest.bins[usual[: np.searchsorted(usual, first)]]
        before = _counted(earlier, size)
        yesterday, season = _time_of_day(latest, size, start_ms, end_ms)
        yield Window(start_ms, recent, before, level, season, yesterday)
        for right_before in _right_before(latest, len(latest.bins) - first):
            if right_before < len(earlier):
                nearest = _counted(earlier[-right_before:], size)
                yield Window(start_ms, recent, nearest, level, season, (before, *yesterday))


def _right_before(latest: Latest, calls: int) -> set[int]:
    """How many calls right before so many these are compared with."""
    twice = max(RIGHT_BEFORE_CALLS, 2 * calls)
    return {RIGHT_BEFORE_CALLS, twice} if latest.own_days else {twice}


def _of_busy(series: SeriesState, latest: Latest, end_ms: int) -> Iterator[Window]:
    hists, last = series.histograms, end_ms // QUARTER_MS
    whole = hists.window(0, last - QUARTERS[-1] - HISTORY_MS // QUARTER_MS, last)
    level = _wandering(series, whole, last)
    for start_ms, _, recent in _latest(latest, len(whole), end_ms):
        yield Window(start_ms, recent, np.maximum(whole - recent, 0.0), level, DAY_SEASON)
    for quarters in QUARTERS:
        recent, start_ms = hists.window(0, last - quarters, last), (last - quarters) * QUARTER_MS
        yield Window(start_ms, recent, whole - recent, level, DAY_SEASON)


def _latest(latest: Latest, size: int, end_ms: int) -> Iterator[tuple[int, int, Float64]]:
    """(since when, number of the first, histogram) of the latest calls of each window."""
    recent, at = np.zeros(size), len(latest.bins)
    for calls in CALLS:
        first = len(latest.bins) - calls
        if first < MIN_BEFORE_CALLS or latest.ts[first] < end_ms - 2 * HISTORY_MS:
            return
        recent = recent + _counted(latest.bins[first:at], size)
        at = first
        yield int(latest.ts[first]), first, recent


def _time_of_day(
    latest: Latest, size: int, start_ms: int, end_ms: int
) -> tuple[tuple[Float64, ...], tuple[float, float]]:
    """The calls at the same time of the day before, where they are needed and kept; else what the time of day counts for."""
    if latest.own_days or end_ms - start_ms >= MOST_OF_DAY_MS:
        return (), NO_SEASON
    ts = latest.ts
    then = (ts >= start_ms - DAY_MS - YESTERDAY_MS) & (ts <= end_ms - DAY_MS + YESTERDAY_MS)
    if np.count_nonzero(then) >= FEWEST_YESTERDAY:
        return (_counted(latest.bins[then], size),), NO_SEASON
    return (), SOME_SEASON


def _wandering(series: SeriesState, whole: Float64, last: int) -> float:
    """Variance of a busy tool's level within hours of the last day, in normal scores."""
    hists = series.histograms
    rows = hists.quarters.between(last - HISTORY_MS // QUARTER_MS, last - 1)
    counts = hists.counts[rows, hists.starts[0] : hists.starts[1]]
    calls = counts.sum(axis=1, dtype=np.float64)
    some = calls >= FEWEST_OF_QUARTER
    if np.count_nonzero(some) < FEWEST_QUARTERS:
        return UNKNOWN_WANDERING
    means = (counts[some] @ normal_scores(whole)) / calls[some]
    return wandering(means, float(np.median(1.0 / calls[some])), hists.quarters.index[rows][some] * QUARTER_MS)


def _counted(bins: Int64, size: int) -> Float64:
    return np.bincount(bins, minlength=size).astype(np.float64)
