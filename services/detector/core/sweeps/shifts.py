"""Lasting shifts of the response time: a series' latest calls against those before, over windows of many lengths.

Which calls are compared with which is for `windows`. A shift must be sure (normal scores of ranks: exact whatever the
distribution, and a few calls that are all beyond what was are told from a few that are merely high), wide enough (the middle
quantiles), more than what is usual at this time of day, more than the tool's level wanders by itself, and still there. Pure;
nothing here remembers.
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np

from services.detector.core import severity
from services.detector.core.events import Event
from services.detector.core.kernels.bins import LN_WIDTH, quantile
from services.detector.core.kernels.shift import compare
from services.detector.core.metrics import HISTORY_MS, MINUTE_MS, QUARTER_MS, RESPONSE_TIME, RESPONSE_TIME_SHIFT
from services.detector.core.state.series import HOUR_MS, SeriesState
from services.detector.core.sweeps import change
from services.detector.core.sweeps.change import Course
from services.detector.core.sweeps.findings import Finding, level_of
from services.detector.core.sweeps.latest import Latest, latest_calls
from services.detector.core.sweeps.slower import how_sure
from services.detector.core.sweeps.windows import (
    CALLS,
    LENIENT,
    MIN_BEFORE_CALLS,
    RIGHT_BEFORE_CALLS,
    Window,
    may_have_risen,
    season,
    windows,
)

#: The methods of what is found here.
SWEPT: Final = "rank-shift"
SLOWER: Final = "times-slower"
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
#: Before it is looked for when the level rose.
LONG_MS: Final = 4 * HOUR_MS
#: Times by which a shift is surer for coming when less is usual.
CALM_TIMES: Final = 1.5
#: The latest of this many calls must show the new level still.
LATEST_CALLS: Final = 48
FEWEST_LATEST: Final = 3
#: Share of a window, or of its calls, that its level must have been there for.
SHOWN: Final = 0.5
#: Share of a rise (of logarithms) of which half must be left for it to go on: it was told when it was highest.
MUST_STAY: Final = 2.0 / 3.0
#: The level now is that of so long; what is usual at an hour counts for so little at least.
NOW_MS: Final = 30 * MINUTE_MS
LEAST_CALM: Final = 0.75
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
    judged = ((_judge(series, window, end_ms), window) for window in windows(series, latest, end_ms, SURE[0]))
    shown = [(found, window) for found, window in judged if found is not None]
    # Since when a level is there costs more to ask than how sure it is.
    for found, window in sorted(shown, key=itemgetter(0), reverse=True):
        since = _since(series, window, latest, end_ms)
        if since is not None:
            if found.method == SLOWER and since.start_ms < window.start_ms:
                # A slow kind of calls was as slow before: no call of it tells when they all became slower.
                peak_ms, calls = max(since.peak_ms, window.start_ms), int(window.recent.sum())
                since = _Since(window.start_ms, peak_ms, since.level, calls)
            return _finding(series, window, since, found, end_ms)
    return None


def goes_on(series: SeriesState, event: Event, end_ms: int) -> bool:
    """Whether a shift that is no longer found, for its own calls have become what was before, is still there: for a day."""
    if end_ms - event.start_ms >= HISTORY_MS or end_ms - series.newest_ts >= SILENT_MS:
        return False
    latest = latest_calls(series, end_ms)
    if not event.typical > event.median > 0.0 or len(latest.ts) < FEWEST_LATEST:
        return False
    calm = 1.0 if latest.own_days else _calm(series, end_ms)
    low = event.median * calm
    high = low * (event.typical / event.median) ** MUST_STAY
    if not change.of_calls(latest, event.start_ms, end_ms, (low, high)).is_left(event.points):
        return True
    return _level_now(series, latest, end_ms) >= math.sqrt(low * high)


def fell(series: SeriesState, event: Event, end_ms: int) -> int:
    """When a shift that is over was last there."""
    if not event.typical > event.median > 0.0:
        return event.last_ms
    if series.calls.covers(event.start_ms):
        latest = latest_calls(series, end_ms)
        course = change.of_calls(latest, event.start_ms, end_ms, (event.median, event.typical))
        last = 0
    else:
        shown_ms = (event.start_ms, min(event.start_ms + NOW_MS, event.last_ms))
        course = change.of_minutes(series, event.start_ms, end_ms, shown_ms, (event.median, event.typical))
        last = MINUTE_MS - 1
    at = course.fall()
    return event.last_ms if at is None else min(max(int(course.ts[at]) + last, event.start_ms), event.last_ms)


def _calm(series: SeriesState, end_ms: int) -> float:
    """Times what is usual over the day that is usual at an hour of the day when less is."""
    return min(max(series.signals.season(series.row, 0, end_ms // HOUR_MS % 24) or 1.0, LEAST_CALM), 1.0)


def _level_now(series: SeriesState, latest: Latest, end_ms: int) -> float:
    """The median of the latest half hour, or of the latest calls where these are fewer."""
    since_ms = end_ms - NOW_MS
    if not series.calls.covers(since_ms):
        low, last = int(series.histograms.lows[0]), end_ms // QUARTER_MS
        return quantile(series.histograms.window(0, last - 1, last), low, 0.5)
    calls = max(int(np.count_nonzero(latest.ts >= since_ms)), FEWEST_LATEST)
    return float(np.median(latest.steady[-calls:]))


class _Judged(NamedTuple):
    """At which level a window shows a shift, how surely, and by which method."""

    level: int
    z: float
    method: str


def _judge(series: SeriesState, window: Window, end_ms: int) -> _Judged | None:
    """Whether a window shows a shift."""
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
    method = SWEPT
    if (slower := how_sure(window, moved, usual)) > z:
        z, method = slower, SLOWER
    # The more calls there are, the more often is looked.
    an_hour = calls * HOUR_MS / lasts_ms
    z -= LOOKS * math.log10(max(an_hour, 1.0))
    sure = SURE_OF_SELDOM if an_hour < SELDOM_AN_HOUR else SURE
    times = math.exp(moved - usual - doubt)
    median = quantile(window.before, int(series.histograms.lows[0]), 0.5)
    if median * (times - 1.0) < RESPONSE_TIME.margin_excess:
        return None
    found = level_of(lambda i: times >= TIMES[i] and z >= sure[i])
    return _Judged(found, z, method) if found else None


class _Since(NamedTuple):
    """Since when a window's level is there (epoch ms), when it was highest, the level, and how many calls showed it."""

    start_ms: int
    peak_ms: int
    level: float
    calls: int


def _since(series: SeriesState, window: Window, latest: Latest, end_ms: int) -> _Since | None:
    """Since when the latest calls show a window's level, and what it is; None when they do not, or few of its calls are since
    then: it was another level that is over.
    """
    low = int(series.histograms.lows[0])
    before, now = quantile(window.before, low, 0.5), quantile(window.recent, low, 0.5)
    # Few calls that are far higher, among others as before, make no level.
    now = max(now, before * math.exp(compare(window.recent, window.before)[1]))
    calls = int(window.recent.sum())
    if _latest_level(latest, calls) < math.sqrt(before * now):
        return None
    if change.of_calls(latest, window.start_ms, end_ms, (before, now)).is_left(calls):
        return None
    course = _course(series, window, latest, end_ms, (before, now))
    at = course.rise()
    if at is None or _shown(series, window, latest, int(course.ts[at]), end_ms) < SHOWN:
        return None
    start_ms, peak_ms = int(course.ts[at]), int(course.ts[at + int(np.argmax(course.values[at:]))])
    if series.calls.covers(start_ms):
        of_level = latest.steady[latest.ts >= max(start_ms, window.start_ms)]
        if len(of_level) < CALLS[0]:
            return None
        now = max(float(np.median(of_level)), math.sqrt(before * now))
        calls = int(np.count_nonzero(latest.ts >= start_ms))
    return _Since(min(start_ms, end_ms), peak_ms, now, calls)


def _shown(series: SeriesState, window: Window, latest: Latest, start_ms: int, end_ms: int) -> float:
    """The share of a window's calls, or of its time where they are not kept, since a level began."""
    if not series.calls.covers(window.start_ms):
        return (end_ms - start_ms) / max(end_ms - window.start_ms, 1)
    since, calls = (int(np.count_nonzero(latest.ts >= ms)) for ms in (start_ms, window.start_ms))
    return since / max(calls, 1)


def _latest_level(latest: Latest, calls: int) -> float:
    """The median of the latest of so many calls."""
    return float(np.median(latest.steady[-min(max(calls // 3, FEWEST_LATEST), LATEST_CALLS) :]))


def _course(series: SeriesState, window: Window, latest: Latest, end_ms: int, levels: tuple[float, float]) -> Course:
    """What is looked at for when a window's level rose: calls, if it did within those that are kept, else minutes."""
    first = int(np.searchsorted(latest.ts, window.start_ms))
    earlier = max(RIGHT_BEFORE_CALLS, len(latest.ts) - first)
    since_ms = min(window.start_ms - LONG_MS, int(latest.ts[max(first - earlier, 0)]))
    of_calls = change.of_calls(latest, max(since_ms, series.calls.dropped_ts + 1), end_ms, levels)
    if series.calls.covers(since_ms) or (of_calls.rise() or 0) >= RIGHT_BEFORE_CALLS:
        return of_calls
    shown_ms = (window.start_ms, end_ms)
    return change.of_minutes(series, window.start_ms - LONG_MS, end_ms, shown_ms, levels)


def _finding(series: SeriesState, window: Window, since: _Since, found: _Judged, end_ms: int) -> Finding:
    low = int(series.histograms.lows[0])
    median = quantile(window.before, low, 0.5)
    upper = max(quantile(window.before, low, 0.9), median * TIMES[0])
    return Finding(
        RESPONSE_TIME_SHIFT,
        RESPONSE_TIME.name,
        RESPONSE_TIME.unit,
        since.start_ms,
        min(series.newest_ts, end_ms),
        since.peak_ms,
        since.level,
        since.level,
        median,
        quantile(window.before, low, 0.05),
        upper,
        since.calls,
        found.level,
        severity.from_tail(severity.normal_tail(found.z), severity.LOOKS),
        severity.of_deviation(RESPONSE_TIME, since.level, median, median),
        found.method,
    )
