"""Lasting shifts of the response time: a series' latest calls against those before, over windows of many lengths.

Which calls are compared with which is for `windows`. A shift must be sure (normal scores of ranks: exact whatever the
distribution, and a few calls that are all beyond what was are told from a few that are merely high), wide enough (the middle
quantiles), more than what is usual at this time of day, more than the tool's level wanders by itself, and still there. Pure;
nothing here remembers.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from services.detector.core import severity
from services.detector.core.events import Event
from services.detector.core.kernels.bins import LN_WIDTH, quantile
from services.detector.core.kernels.shift import compare
from services.detector.core.metrics import HISTORY_MS, MINUTE_MS, RESPONSE_TIME, RESPONSE_TIME_SHIFT
from services.detector.core.state.series import HOUR_MS, SeriesState
from services.detector.core.sweeps.findings import Finding, level_of
from services.detector.core.sweeps.latest import Latest, latest_calls
from services.detector.core.sweeps.windows import CALLS, MIN_BEFORE_CALLS, Window, may_have_risen, season, windows
from services.detector.core.view import minutes_of

#: By level: times the level before, and how sure.
TIMES: Final = (1.15, 1.28, 1.7)
SURE: Final = (2.8, 3.7, 4.6)
#: How sure will do of calls that come less often than so many times an hour, for so few are seldom looked at.
SURE_OF_SELDOM: Final = (2.8, 3.5, 4.6)
SELDOM_AN_HOUR: Final = 2.0
#: How much surer for each tenfold number of calls an hour.
LOOKS: Final = 0.45
#: Neighbouring calls resemble each other: the more there are, the less does one of them say.
SAME_CALLS: Final = 200.0
#: Levels wander within so long.
WANDERING_MS: Final = 2 * HOUR_MS
#: How much less sure a shift may be by other comparisons than by the best.
LENIENT: Final = 2.0
#: Before it is looked for when the level rose.
LONG_MS: Final = 4 * HOUR_MS
#: Times by which a shift is surer for coming when less is usual.
CALM_TIMES: Final = 1.5
#: The latest of this many calls must show the new level still.
LATEST_CALLS: Final = 48
FEWEST_LATEST: Final = 3
#: Without calls for so long a shift is over.
SILENT_MS: Final = HOUR_MS


def find_shift(series: SeriesState, end_ms: int) -> Finding | None:
    """The surest shift upwards that is going on at `end_ms`."""
    if int(series.histograms.lows[0]) < 0 or series.newest_ts < end_ms - HISTORY_MS:
        return None
    if not may_have_risen(series, end_ms, SURE[0]):
        return None
    latest = latest_calls(series, end_ms)
    if len(latest.ts) < CALLS[0] + MIN_BEFORE_CALLS:
        return None
    best: tuple[int, float, Window] | None = None
    for window in windows(series, latest, end_ms, SURE[0]):
        found = _judge(series, window, end_ms)
        if found is not None and (best is None or found > best[:2]) and _lasts(series, window, latest):
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


def _judge(series: SeriesState, window: Window, end_ms: int) -> tuple[int, float] | None:
    """(level, z) of a window that shows a shift."""
    calls, before = float(window.recent.sum()), float(window.before.sum())
    if before < MIN_BEFORE_CALLS or calls < CALLS[0]:
        return None
    z, moved, spread = compare(window.recent, window.before)
    if z < SURE[0] or moved <= 0.0:
        return None
    usual = season(series, window, end_ms)
    if moved <= usual:
        return None
    z = min((z, *(compare(window.recent, other)[0] + LENIENT for other in window.others)))
    z *= min(1.0 - usual / moved, CALM_TIMES)
    lasts_ms = max(end_ms - window.start_ms, MINUTE_MS)
    # The level wanders by itself; of a long time it is the mean.
    level = max(window.wandering / (1.0 + lasts_ms / WANDERING_MS), 1.0 / SAME_CALLS)
    z /= math.sqrt(1.0 + level / (1.0 / calls + 1.0 / before))
    # Where values come in clusters, quantiles jump between them: their difference must be sure as well.
    doubt = max(spread, LN_WIDTH) * math.sqrt(1.0 / calls + 1.0 / SAME_CALLS + 1.0 / before)
    z = min(z, (moved - usual) / doubt)
    # The more calls there are, the more often is looked.
    an_hour = calls * HOUR_MS / lasts_ms
    z -= LOOKS * math.log10(max(an_hour, 1.0))
    sure = SURE_OF_SELDOM if an_hour < SELDOM_AN_HOUR else SURE
    times = math.exp(moved - usual - doubt)
    median = quantile(window.before, int(series.histograms.lows[0]), 0.5)
    if median * (times - 1.0) < RESPONSE_TIME.margin_excess:
        return None
    found = level_of(lambda i: times >= TIMES[i] and z >= sure[i])
    return (found, z) if found else None


def _lasts(series: SeriesState, window: Window, latest: Latest) -> bool:
    """Whether the latest calls show the new level still."""
    low = int(series.histograms.lows[0])
    calls = int(min(max(window.recent.sum() // 3, FEWEST_LATEST), LATEST_CALLS))
    before, now = quantile(window.before, low, 0.5), quantile(window.recent, low, 0.5)
    return float(np.median(latest.steady[-calls:])) >= math.sqrt(max(before * now, 0.0))


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
