"""Silence: a tool that is called no more, told by its own pauses.

The clock of a tool is the number of calls it would usually have had: an hour at night is short where nights are quiet. On that
clock the pause under way is compared with the tool's past pauses; how seldom one as long is follows from the tail of those. Calls
of one minute count once, so that bursts say nothing. Pure; nothing here remembers.

What is usual is taken from how often each hour of the day had calls, and no more than the day before had. Weekends count by the
calls of the weekend itself. Where a tool has nights (people call it), or no two days of it are known, it is silent only while
others are called: else it is the people who went. While nothing at all was called (a machine asleep, a pipeline that was down)
the clock stands still.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core import severity
from services.detector.core.metrics import HISTORY_MS, MINUTE_MS, STORED_LEVEL, THROUGHPUT_CHANGE
from services.detector.core.signal import minutes as heads
from services.detector.core.signal import scorer
from services.detector.core.state.series import HOUR_MS, SeriesState
from services.detector.core.sweeps.findings import Finding, level_of
from shared.timespan import DAY_MS

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: The method of such events.
GAP: Final = "gap"
#: No shorter pause is a silence: some report in batches, and a restart takes its time.
LEAST_MS: Final = 10 * MINUTE_MS
#: Nor is one of a tool that nobody knows: called for so long, in so many minutes.
LEAST_KNOWN_MS: Final = 2 * HOUR_MS
LEAST_CALLED: Final = 30
#: Younger tools have no usual hours yet; they must be silent for longer.
YOUNG_MS: Final = 2 * DAY_MS
YOUNG_LEAST_MS: Final = 20 * MINUTE_MS
YOUNG_CONFIDENCE: Final = 0.9
#: Until it is known for so long, nobody knows what its nights are like.
NIGHTS_MS: Final = 3 * DAY_MS
#: Without a longer pause for so long a tool is called by a program; round the clock, if it is called every quarter of an hour.
TIRELESS_MINUTES: Final = 6 * 60
PAUSE_MINUTES: Final = 5
CLOCKWORK_MINUTES: Final = 24 * 60
TICK_MINUTES: Final = 20
#: A tool that has not been called for so long is no longer in use.
GONE_MS: Final = 3 * DAY_MS
#: False alarms a day by level, a fifth of what the sensitivities allow: most of a day's pauses are none.
A_DAY: Final = (1 / 5, 1 / 35, 1 / 150)
#: Times the longest pause so far, by level.
BEYOND: Final = (1.2, 1.5, 2.0)
#: Calls that the pause must have cost, at least.
LEAST_MISSED: Final = 4.0
#: The longest pauses, from which the tail is taken: a share of all, at most so many, at least so many.
TAIL_SHARE: Final = 0.2
TAIL_MOST: Final = 50
TAIL_LEAST: Final = 5
#: The mean of what exceeds the others is no less: minutes are whole.
LEAST_EXCESS: Final = 1.0
#: Past pauses that may have been silences, in hours with this share of the busiest one's calls.
BUSY: Final = 0.5
SILENCES: Final = 2
#: Hours to either side that tell what is usual in one; share of the mean below which an hour is night; where there are no nights,
#: the least share of its weekdays that a weekend has.
SMOOTH_HOURS: Final = 2
NIGHT: Final = 0.1
WEEKEND: Final = 0.25
#: Series that were called until nothing was: one or two may have stopped together by themselves.
SEVERAL: Final = 3
#: Others are called for so much of the pause.
MEANWHILE: Final = 0.7
#: Share of a tool's pauses that are no longer than what is an ordinary one.
ORDINARY: Final = 0.95
_HOURS = 24
#: 1 January 1970 was a Thursday: days after its week's Monday.
_FIRST_DAY = 3


@dataclass(frozen=True, slots=True)
class Pauses:
    """Past pauses by length in usual calls: how many, how seldom longer ones are (`chance`), the longest."""

    count: int
    edge: float
    excess: float
    tail: int
    longest: float

    def chance(self, length: float) -> float:
        """P(a pause is at least so long): exponential beyond the edge, its mean uncertain as that of `tail` pauses (Lomax)."""
        if length <= self.edge:
            return 1.0
        return self.tail / self.count * (1.0 + (length - self.edge) / self.excess) ** -self.tail


def find_silence(series: SeriesState, now_ms: int) -> Finding | None:
    """That no calls come any more, since the last one."""
    last_ms = series.newest_ts
    pause_ms = now_ms - last_ms
    if last_ms < 0 or not LEAST_MS <= pause_ms < GONE_MS:
        return None
    age_ms = last_ms - series.first_ts
    young = age_ms < YOUNG_MS
    if age_ms < LEAST_KNOWN_MS or (young and pause_ms < YOUNG_LEAST_MS):
        return None
    called = called_minutes(series)
    if len(called) < LEAST_CALLED:
        return None
    by_hour = usual_hours(series, called, young=young)
    nights = float(by_hour.min()) < NIGHT * float(by_hour.mean()) or (young and not _is_machine(called))
    if nights and not _others_called(series, last_ms, pause_ms):
        return None
    clock = Clock(by_hour, called, nights=nights, now_ms=now_ms)
    unknown = age_ms < NIGHTS_MS and not _is_machine(called)
    breaks = _breaks(series, last_ms, now_ms, 0 if unknown else ordinary_ms(called, nights=nights))
    length = clock.between(last_ms, now_ms) - sum(clock.between(*span) for span in breaks)
    if length < LEAST_MISSED:
        return None
    lengths = np.diff(clock.at(called * MINUTE_MS))
    pauses = pauses_of(lengths, lengths >= BUSY * float(by_hour.max()) * np.diff(called))
    a_day = len(called) * DAY_MS / max(int(called[-1] - called[0]) * MINUTE_MS, HOUR_MS)
    chance = pauses.chance(length)
    level = level_of(lambda i: chance * a_day <= A_DAY[i] and length >= BEYOND[i] * pauses.longest)
    confidence = severity.bounded(1.0 - min(1.0, chance * a_day / 4))
    if young:  # it may have been a passing use, and what its days are like nobody knows
        level, confidence = min(level, STORED_LEVEL), min(confidence, YOUNG_CONFIDENCE)
    return _finding(series, now_ms, level, confidence, called) if level else None


def _is_machine(called: Int64) -> bool:
    """Whether a tool is called without a pause for longer than people do."""
    span, pause = int(called[-1] - called[0]), int(np.diff(called).max())
    tireless = span >= TIRELESS_MINUTES and pause <= PAUSE_MINUTES
    return tireless or (span >= CLOCKWORK_MINUTES and pause <= TICK_MINUTES)


def called_minutes(series: SeriesState) -> Int64:
    """Minutes (since 1970) with calls, ascending: as far back as the latest calls, or the day's minutes, go."""
    kept: Int64 = series.minutes.index[: series.minutes.filled]
    ts, _, _ = series.calls.in_order()
    if not len(ts) or not len(kept) or int(ts.min()) // MINUTE_MS >= int(kept[0]):
        return kept
    found: Int64 = np.unique(ts // MINUTE_MS)
    return found


def usual_hours(series: SeriesState, called: Int64, *, young: bool) -> Float64:
    """f64[24]: the share of minutes with calls in each hour of the day (UTC), of weekdays as far as that can be told."""
    kept = series.signals.signal(series.row, 0)
    span_s = 0.0 if kept is None else float(kept[0][scorer.LAST_S] - kept[0][scorer.FIRST_S])
    if young or kept is None or span_s < YOUNG_MS / 1_000 / 2:
        minutes = max(int(called[-1] - called[0]) + 1, 1)
        return np.full(_HOURS, min(1.0, len(called) / minutes))
    days = max(1.0, span_s / (DAY_MS / 1_000))
    counts = kept[0][scorer.HOUR_COUNT : scorer.HOUR_COUNT + _HOURS].astype(np.float64)
    return np.minimum(_smooth(counts) / (60.0 * days), 1.0)


def pauses_of(lengths: Float64, busy: NDArray[np.bool_]) -> Pauses:
    """The tail of past pauses (peaks over a threshold; Pickands 1975 with an exponential tail), without such as were silences
    themselves: what happened yesterday would hide it today. `busy`: those in busy hours, for a night is none.
    """
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order]
    for silences in range(min(SILENCES, len(ordered) - TAIL_LEAST)):
        rest = _tail(ordered[silences + 1 :])
        if not busy[order[silences]] or rest.chance(float(ordered[silences])) * rest.count > A_DAY[1]:
            return _tail(ordered[silences:])
    return _tail(ordered[min(SILENCES, max(0, len(ordered) - TAIL_LEAST)) :])


def _tail(ordered: Float64) -> Pauses:
    """Of pauses, the longest first."""
    tail = max(TAIL_LEAST, min(TAIL_MOST, int(TAIL_SHARE * len(ordered))))
    edge = float(ordered[min(tail, len(ordered) - 1)])
    excess = max(float((ordered[:tail] - edge).sum()), tail * LEAST_EXCESS)
    return Pauses(len(ordered), edge, excess, tail, float(ordered[0]))


class Clock:
    """Time of a tool, in minutes with calls that would be usual: what each hour since it is known adds."""

    def __init__(self, by_hour: Float64, called: Int64, *, nights: bool, now_ms: int) -> None:
        first = int(called[0]) * MINUTE_MS // HOUR_MS
        hours = np.arange(first, now_ms // HOUR_MS + 1)
        pace = by_hour[hours % _HOURS] * 60.0
        weekend = is_weekend(hours)
        counts = np.bincount(called // 60 - first, minlength=len(hours))[: len(hours)].astype(np.float64)
        weeks = (hours // _HOURS + _FIRST_DAY) // 7
        for week in np.unique(weeks[weekend]).tolist():
            of_it = weekend & (weeks == week)
            pace[of_it] *= _weekend_share(
                counts[of_it], pace[of_it], hours[of_it], int(called[-1]) // 60, nights=nights
            )
        self._edges = np.append(hours, hours[-1] + 1) * HOUR_MS
        self._total = np.concatenate(([0.0], np.cumsum(_no_more_than_lately(pace, counts, hours, weekend))))

    def at(self, ts_ms: Int64) -> Float64:
        """The clock at some times."""
        return np.asarray(np.interp(ts_ms, self._edges, self._total))

    def between(self, start_ms: int, end_ms: int) -> float:
        """How far it goes in a span."""
        first, last = self.at(np.array([start_ms, end_ms]))
        return float(last - first)


def is_weekend(hours: Int64) -> NDArray[np.bool_]:
    """Whether hours (since 1970) are of a Saturday or a Sunday (UTC)."""
    found: NDArray[np.bool_] = (hours // _HOURS + _FIRST_DAY) % 7 >= 5
    return found


def _weekend_share(counts: Float64, pace: Float64, hours: Int64, last_hour: int, *, nights: bool) -> float:
    """How much of a weekday's calls a weekend has, by its own calls until the last: with much doubt while these are few."""
    before = hours <= last_hour
    usual, seen = float(pace[before].sum()), float(counts[before].sum())
    share = max(0.0, seen - 2.0 * math.sqrt(seen)) / usual if usual > 0 else 0.0
    return min(1.0, max(share, 0.0 if nights else WEEKEND))


def _no_more_than_lately(pace: Float64, counts: Float64, hours: Int64, weekend: NDArray[np.bool_]) -> Float64:
    """What is usual, and no more than the same hours had the day before, where that was a day of the same kind."""
    if len(hours) <= _HOURS + SMOOTH_HOURS:
        return pace
    width = np.ones(2 * SMOOTH_HOURS + 1)
    known = np.convolve(np.ones(len(counts)), width, "same")
    around = np.convolve(counts, width, "same") / known
    doubt = 2.0 * np.sqrt(around / known)
    lately = np.full(len(hours), np.inf)
    lately[_HOURS:] = np.where(weekend[_HOURS:] == weekend[:-_HOURS], (around + doubt)[:-_HOURS], np.inf)
    return np.asarray(np.minimum(pace, lately))


def _smooth(counts: Float64) -> Float64:
    """Means over the hours of the day to either side."""
    around = range(-SMOOTH_HOURS, SMOOTH_HOURS + 1)
    return np.asarray(sum(np.roll(counts, shift) for shift in around) / len(around))


def ordinary_ms(called: Int64, *, nights: bool) -> int:
    """How long hardly any past pause was: where all tools are called on the same minutes, nothing at all is called between them;
    where people call them (`nights`), nothing is for as long as these are away.
    """
    minutes = int(np.quantile(np.diff(called), ORDINARY)) + 1
    return (min(minutes, TICK_MINUTES) if nights else minutes) * MINUTE_MS


def _breaks(series: SeriesState, start_ms: int, end_ms: int, longer_ms: int) -> Iterator[tuple[int, int]]:
    """The parts of a pause, each longer than `longer_ms`, in which nothing at all was called: that is not the tool's silence."""
    breaks = series.signals.breaks
    yield from breaks.within(start_ms, end_ms, longer_ms)
    longer_ms = max(longer_ms, LEAST_MS)
    called = series.signals.heads[:, heads.CALLED] * MINUTE_MS
    if np.count_nonzero(called >= breaks.newest_ms - HOUR_MS) >= SEVERAL and breaks.newest_ms < end_ms - longer_ms:
        yield max(start_ms, breaks.newest_ms), end_ms


def _others_called(series: SeriesState, last_ms: int, pause_ms: int) -> bool:
    """Whether any other tool was called for most of the pause."""
    called = series.signals.heads[:, heads.CALLED]
    return bool(called.max() * MINUTE_MS >= last_ms + MEANWHILE * pause_ms)


def _finding(series: SeriesState, now_ms: int, level: int, confidence: float, called: Int64) -> Finding:
    rows = series.minutes.between((series.newest_ts - HISTORY_MS) // MINUTE_MS, series.newest_ts // MINUTE_MS)
    calls = float(series.moments[rows, 0, 0].sum())
    hours = max(1.0, min(24.0, (series.newest_ts - series.first_ts) / HOUR_MS))
    usual, unit = (calls / hours, "calls/h") if calls >= hours else (calls, "calls/day")
    doubt = 2.0 * math.sqrt(usual)
    return Finding(
        THROUGHPUT_CHANGE,
        "calls",
        unit,
        series.newest_ts + 1,
        now_ms,
        now_ms,
        0.0,
        0.0,
        usual,
        max(0.1 * usual, usual - doubt),
        usual + doubt,
        1,
        level,
        confidence,
        "warning" if level >= 3 and len(called) >= 10 * LEAST_CALLED else "info",
        GAP,
    )
