"""Lasting shifts of the response time: a series' latest calls against those before, over windows of many lengths.

A tool is judged by its latest 5, 6, 8, 12 ... calls, however long these took, and a busy one by its latest quarter hours too. A
shift must be sure (Mann-Whitney), wide enough (the middle quantiles), more than what is usual at this time of day, more than the
tool's level wanders by itself, and still there. Pure; nothing here remembers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core import severity
from services.detector.core.events import Event
from services.detector.core.findings import Finding, level_of
from services.detector.core.kernels.bins import EDGES, LN_WIDTH, quantile, rank_bin
from services.detector.core.kernels.shift import compare
from services.detector.core.metrics import HISTORY_MS, MINUTE_MS, QUARTER_MS, RESPONSE_TIME, RESPONSE_TIME_SHIFT
from services.detector.core.state.series import HOUR_MS, SeriesState
from services.detector.core.view import minutes_of

Float64 = NDArray[np.float64]

#: Windows: latest calls of a tool that is not busy, quarter hours (besides the one under way) of a busy one.
CALLS: Final = (4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
QUARTERS: Final = (1, 2, 4, 8, 16, 24)
MIN_BEFORE_CALLS: Final = 20
#: By level: times the level before, and how sure.
TIMES: Final = (1.15, 1.28, 1.7)
SURE: Final = (2.8, 3.7, 4.6)
#: How much surer for each tenfold number of calls an hour.
LOOKS: Final = 0.45
#: Neighbouring calls resemble each other: the more there are, the less does one of them say.
SAME_CALLS: Final = 200.0
#: Windows of so few calls are judged by how many are high too, from such a z of the ranks on; shares of calls that are high.
FEW_CALLS: Final = 24
WORTH_COUNTING: Final = 2.0
HIGH_SHARES: Final = (0.25, 0.1)
LEAST_P: Final = 1e-15
#: A window shorter than this must leave the wandering of the hour's level behind by so many of its deviations, or, where that is
#: not known yet, be so many times the level before.
LONG_MS: Final = 4 * HOUR_MS
WANDERING: Final = 5.0
YOUNG_TIMES: Final = 1.8
#: Quarter hours that tell of a young tool's wandering.
FEWEST_QUARTERS: Final = 8
#: What is usual at a time of day, at least.
LEAST_SEASON: Final = 0.75
#: The latest of this many calls must show the new level still.
LATEST_CALLS: Final = 48
FEWEST_LATEST: Final = 3
#: Without calls for so long a shift is over.
SILENT_MS: Final = HOUR_MS


@dataclass(frozen=True, slots=True)
class Window:
    """Histograms (over the series' bins) of the calls since `start_ms` and of those before."""

    start_ms: int
    recent: Float64
    before: Float64


def find_shift(series: SeriesState, end_ms: int) -> Finding | None:
    """The surest shift upwards that is going on at `end_ms`."""
    low = int(series.histograms.lows[0])
    if low < 0 or series.newest_ts < end_ms - HISTORY_MS:
        return None
    ts, x, _ = series.calls.in_order()
    measured = np.isfinite(x[0]) & (ts <= end_ms)
    ts, values = ts[measured], x[0][measured]
    if len(ts) < CALLS[0] + MIN_BEFORE_CALLS:
        return None
    best: tuple[int, float, Window] | None = None
    for window in _windows(series, ts, values, end_ms):
        found = _judge(series, window, end_ms)
        if found is not None and (best is None or found > best[:2]) and _lasts(window, values, low):
            best = (*found, window)
    return None if best is None else _finding(series, best[2], best[:2], end_ms)


def goes_on(series: SeriesState, event: Event, end_ms: int) -> bool:
    """Whether a shift that is no longer found, for its own calls have become what was before, is still there: for a day."""
    if end_ms - event.start_ms >= HISTORY_MS or end_ms - series.newest_ts >= SILENT_MS:
        return False
    ts, x, _ = series.calls.in_order()
    values = x[0][np.isfinite(x[0]) & (ts <= end_ms)]
    calls = min(max(event.points // 3, FEWEST_LATEST), LATEST_CALLS)
    between = math.sqrt(max(event.median * event.value, 0.0))
    return len(values) >= calls and float(np.median(values[-calls:])) >= between


def _windows(series: SeriesState, ts: NDArray[np.int64], values: Float64, end_ms: int) -> Iterator[Window]:
    hists = series.histograms
    size, low = len(hists.base_of(0)), int(hists.lows[0])
    bins = np.clip(np.searchsorted(EDGES, values, "right") - 1 - low, 0, size - 1)
    last = end_ms // QUARTER_MS
    if series.calls.covers(end_ms - HISTORY_MS):
        whole = np.bincount(bins, minlength=size).astype(np.float64)
    else:
        whole = hists.window(0, last - QUARTERS[-1] - HISTORY_MS // QUARTER_MS, last)
        for quarters in QUARTERS:
            recent = hists.window(0, last - quarters, last)
            yield Window((last - quarters) * QUARTER_MS, recent, whole - recent)
    recent, at = np.zeros(size), len(bins)
    for calls in CALLS:
        if len(bins) - calls < MIN_BEFORE_CALLS or ts[-calls] < end_ms - 2 * HISTORY_MS:
            return
        recent = recent + np.bincount(bins[len(bins) - calls : at], minlength=size)
        at = len(bins) - calls
        yield Window(int(ts[-calls]), recent, np.maximum(whole - recent, 0.0))


def _judge(series: SeriesState, window: Window, end_ms: int) -> tuple[int, float] | None:
    """(level, z) of a window that shows a shift."""
    calls, before = float(window.recent.sum()), float(window.before.sum())
    if before < MIN_BEFORE_CALLS or calls < CALLS[0]:
        return None
    z, moved, spread = compare(window.recent, window.before)
    if calls <= FEW_CALLS and z >= WORTH_COUNTING:
        z = max(z, *(_counted(window, share) for share in HIGH_SHARES))
    if z < SURE[0] or moved <= 0:
        return None
    z /= math.sqrt(1.0 + calls / SAME_CALLS)
    # Where values come in clusters, quantiles jump between them: their difference must be sure as well.
    doubt = max(spread, LN_WIDTH) * math.sqrt(1.0 / calls + 1.0 / SAME_CALLS + 1.0 / before)
    z = min(z, moved / doubt)
    # The more calls there are, the more often is looked.
    an_hour = calls * HOUR_MS / max(end_ms - window.start_ms, MINUTE_MS)
    z -= LOOKS * math.log10(max(an_hour, 1.0))
    moved -= _season(series, window.start_ms, end_ms) + doubt
    times = math.exp(moved)
    median = quantile(window.before, int(series.histograms.lows[0]), 0.5)
    if median * (times - 1.0) < RESPONSE_TIME.margin_excess or not _leaves(series, window, times, end_ms):
        return None
    level = level_of(lambda i: times >= TIMES[i] and z >= SURE[i])
    return (level, z) if level else None


def _counted(window: Window, share: float) -> float:
    """How sure it is, as a normal deviate, that more of a few calls are high than of those before, of which `share` were: where
    all are high the test of ranks knows no better than that there are few.
    """
    at = rank_bin(window.before, (1.0 - share) * float(window.before.sum()))
    rate = (float(window.before[at + 1 :].sum()) + 1.0) / (float(window.before.sum()) + 1.0)
    p = severity.binomial_tail(int(window.recent[at + 1 :].sum()), int(window.recent.sum()), rate)
    return NormalDist().inv_cdf(1.0 - max(p, LEAST_P)) if p < 0.5 else 0.0


def _season(series: SeriesState, start_ms: int, end_ms: int) -> float:
    """ln of how much more is usual in the hours from start to end than in a day."""
    first, last = start_ms // HOUR_MS, end_ms // HOUR_MS
    if last - first >= 20:
        return 0.0
    known = [series.signals.season(series.row, 0, hour % 24) for hour in range(first, last + 1)]
    known = [season for season in known if season > 0]
    return math.log(max(sum(known) / len(known), LEAST_SEASON)) if known else 0.0


def _leaves(series: SeriesState, window: Window, times: float, end_ms: int) -> bool:
    """Whether a shift so wide is more than the wandering of the tool's level in so short a time."""
    if end_ms - window.start_ms >= LONG_MS:
        return True
    known = series.signals.wandering(series.row, 0) or _wandering_so_far(series, window.start_ms)
    return (times - 1.0) * known[0] >= WANDERING * known[1] if known else times >= YOUNG_TIMES


def _wandering_so_far(series: SeriesState, end_ms: int) -> tuple[float, float] | None:
    """(usual value, deviation of a quarter hour's mean from it) of a tool that is known for hours only."""
    minutes = minutes_of(series, 0, (end_ms - HISTORY_MS) // MINUTE_MS, end_ms // MINUTE_MS - 1)
    if not len(minutes):
        return None
    _, quarter = np.unique(minutes.start // QUARTER_MS, return_inverse=True)
    calls = np.bincount(quarter, weights=minutes.n)
    means = np.bincount(quarter, weights=minutes.n * minutes.mean) / calls
    if len(means) < FEWEST_QUARTERS:
        return None
    # What comes of the shift itself is not to count.
    usual = float(np.median(means))
    return usual, 1.4826 * float(np.median(np.abs(means - usual)))


def _lasts(window: Window, values: Float64, low: int) -> bool:
    """Whether the latest calls show the new level still."""
    calls = int(min(max(window.recent.sum() // 3, FEWEST_LATEST), LATEST_CALLS))
    before, now = quantile(window.before, low, 0.5), quantile(window.recent, low, 0.5)
    return float(np.median(values[-calls:])) >= math.sqrt(max(before * now, 0.0))


def _finding(series: SeriesState, window: Window, found: tuple[int, float], end_ms: int) -> Finding:
    level, z = found
    low = int(series.histograms.lows[0])
    median, now = quantile(window.before, low, 0.5), quantile(window.recent, low, 0.5)
    upper = max(quantile(window.before, low, 0.9), median * TIMES[0])
    start_ms, peak_ms = _rise(series, window.start_ms, math.sqrt(median * now), end_ms)
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
        quantile(window.before, low, 0.05),
        upper,
        int(window.recent.sum()),
        level,
        severity.from_tail(severity.normal_tail(z), severity.LOOKS),
        severity.of_deviation(RESPONSE_TIME, now, median, median),
        "rank-shift",
    )


def _rise(series: SeriesState, start_ms: int, between: float, end_ms: int) -> tuple[int, int]:
    """When the level rose, and its worst minute: after the last ten minutes before the window of which most were below."""
    since = start_ms - LONG_MS
    minutes = minutes_of(series, 0, since // MINUTE_MS, end_ms // MINUTE_MS)
    if not len(minutes):
        return start_ms, start_ms
    lows = minutes.mean < between
    share = np.convolve(lows, np.ones(10) / 10, "full")[: len(minutes)]
    mostly = np.flatnonzero(share > 0.5)
    after = int(mostly[-1]) if len(mostly) else 0
    below = np.flatnonzero(lows[: after + 1])
    after = min(int(below[-1]) + 1 if len(below) else 0, len(minutes) - 1)
    peak = after + int(np.argmax(minutes.mean[after:]))
    return min(int(minutes.start[after]), end_ms), int(minutes.start[peak])
