"""Judge calls one by one against their series' own baseline: the `auto` detector of spikes.

A call is outside at a level when it lies above the z-score band *and* the percentile band of that level *and* the margin
above the median, all taken from a decaying histogram of earlier calls that were not abnormal. Three or more such calls, none
further from the next than ten calls and two minutes, are an event if they are rare enough among the calls between them: a
Bernoulli CUSUM (Reynolds & Stoumbos 1999) a level, whose alarm limit grows with the logarithm of the call rate, so that a busy
tool is allowed no more false alarms an hour than a quiet one, and with the youth of the baseline. Calls outside that are known
to come in rows weigh less. No calibration is claimed for the limits.

`track` f64[SIZE] is all that is kept of a series' metric besides its histogram; the constants below and those of `baseline` name
its places.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.baseline import (
    BAND,
    CALM,
    CHANCE,
    FOLLOWED,
    LEVELS,
    LOWER,
    MEDIAN,
    MIN_WEIGHT,
    NEWEST,
    RATE,
    REFRESHED_AT,
    RUNS,
    SEASON,
    SINCE,
    WEIGHT,
    learn,
    refresh,
    refresh_due,
)
from services.detector.core.kernels.bins import bin_of
from services.detector.core.kernels.compiled import compiled

Row = NDArray[np.float64]
Base = NDArray[np.float32]

# The event under way.
PHASE, START, LAST, CALLS, QUIET = 14, 15, 16, 17, 18
OUTSIDE, SUM = 19, 22  # three places each: calls outside, CUSUM
PEAK, PEAK_AT, TOTAL, FRACTION, LEVEL, STRENGTH, ADOPTED, HELD = 25, 26, 27, 28, 29, 30, 31, 32
HELD_VALUES = 33  # HELD_MAX places: values not learned yet
HELD_MAX: Final = 8
#: From the alarm on none are held: HELD is KEPT, and in their places are when it was, and what was usual then, which stays there
#: when a new level is adopted: median, lower end, bands (three places).
KEPT: Final = -1.0
ALARMED, KEPT_MEDIAN, KEPT_LOWER, KEPT_BAND = 33, 34, 35, 36
PAIRS, PREVIOUS = (
    41,
    44,
)  # three places: calls outside that followed another; levels that the call before was outside of
SIZE: Final = SEASON + 1

IDLE, PENDING, OPEN = 0.0, 1.0, 2.0
#: Happenings: a new event or a higher level of one; its end inside the band, in silence, or at a new level.
OPENED, CLOSED_INSIDE, CLOSED_QUIET, CLOSED_ADOPTED = 1.0, 2.0, 3.0, 4.0
#: A happening is its kind and the track at that moment.
HAPPENING: Final = SIZE + 1

#: Share of calls outside that the CUSUM of a level listens for, at least.
_LISTEN = (0.5, 0.2, 0.1)
#: Alarm limits at one call a minute.
_LIMIT = (6.5, 9.5, 12.5)
#: Most that the size of one call may add to the evidence: ln 10, a Pareto tail of index 1 up to ten times the limit.
_MAX_BOOST = 2.302585092994046
#: Calls of baseline at which the alarm limits stand ln 2 higher than for a long one: young bands are rough guesses.
_DAMPING = 200.0
#: Calls outside, none in a row, that are taken as known beforehand; and how many an episode can add.
_COMPANY_PRIOR = 10.0
_MOST_COMPANY = 5.0
_MIN_OUTSIDE = 3.0
_GAP_MS = 120_000.0
_GAP_CALLS = 10.0
_QUIET_MS = 1_800_000.0
#: A call this much older than the newest is history, not news: it is not judged, and learned only if it is a usual one.
_LATE_MS = 900_000.0
#: Calls outside are forgotten when nothing follows for this long.
_PENDING_MS = 86_400_000.0
#: So long after its alarm an event is the new normal: from now on it is learned.
_ADOPT_MS = 3_600_000.0
#: Weight of a call outside during an event.
_FAINT = 0.1
#: Share of recent calls outside (decaying by a tenth a call) at which an event is still going on.
_GOING_ON = 0.15


@compiled("void(float64, float64[:])", part=True)
def begin(t: float, track: Row) -> None:
    """Start to watch a possible event at the first call outside."""
    for i in range(PHASE, CALM):
        track[i] = 0.0
    track[PHASE] = PENDING
    track[START] = t
    track[LAST] = t


@compiled("void(float64, float64[:])", part=True)
def keep_usual(t: float, track: Row) -> None:
    """Note when the alarm is raised, and by what."""
    track[HELD] = KEPT
    track[ALARMED] = t
    track[KEPT_MEDIAN] = track[MEDIAN]
    track[KEPT_LOWER] = track[LOWER]
    for level in range(LEVELS):
        track[KEPT_BAND + level] = track[BAND + level]


@compiled("void(float64[:])", part=True)
def learn_company(track: Row) -> None:
    """Remember whether calls outside came alone or in a row; of one episode no more than a few, so that one long incident does
    not make the next one ordinary.
    """
    for level in range(LEVELS):
        track[RUNS + level] += min(track[OUTSIDE + level], _MOST_COMPANY)
        track[FOLLOWED + level] += min(track[PAIRS + level], _MOST_COMPANY)


@compiled("void(float32[:], int64, float64[:])", part=True)
def dismiss(base: Base, low: int, track: Row) -> None:
    """It was nothing: learn what was held back."""
    for i in range(int(track[HELD])):
        learn(track[HELD_VALUES + i], 1.0, base, low, track)
    track[HELD] = 0.0
    learn_company(track)
    track[PHASE] = IDLE


@compiled("void(float64, float64[:])", part=True)
def weigh(value: float, track: Row) -> None:
    """Move every level's CUSUM by one call. A call outside that follows another says less when they are known to come in rows,
    and so does how far outside it is: it resembles the one before.
    """
    before = track[PREVIOUS]
    track[PREVIOUS] = 0.0
    season = max(track[SEASON], 1.0)
    for level in range(LEVELS):
        chance, limit, alone = track[CHANCE + level], season * track[BAND + level], 1.0
        if before <= level and value <= limit:
            if track[CALM + level] == 0.0:
                listen = min(max(_LISTEN[level], 5.0 * chance), 0.9)
                track[CALM + level] = math.log((1.0 - listen) / (1.0 - chance))
            track[SUM + level] = max(0.0, track[SUM + level] + track[CALM + level])
            continue
        if before > level:
            known = _COMPANY_PRIOR * chance + track[FOLLOWED + level]
            chance = max(chance, known / (_COMPANY_PRIOR + track[RUNS + level]))
            alone = (1.0 - chance) / (1.0 - track[CHANCE + level])
        listen = max(min(max(_LISTEN[level], 5.0 * chance), 0.9), 0.5 + 0.5 * chance if before > level else 0.0)
        if value > limit:
            boost = min(math.log(value / limit), _MAX_BOOST) if limit > 0.0 else 0.0
            track[SUM + level] = min(track[SUM + level] + math.log(listen / chance) + alone * boost, 700.0)
            track[OUTSIDE + level] += 1.0
            track[PAIRS + level] += 1.0 if before > level else 0.0
            track[PREVIOUS] = level + 1.0
        else:
            track[SUM + level] = max(0.0, track[SUM + level] + math.log((1.0 - listen) / (1.0 - chance)))


@compiled("float64(float64[:])", part=True)
def level_reached(track: Row) -> float:
    """The least sensitive level at which the evidence suffices, 0 for none. The typical call outside must be outside at that
    level too: where the level wanders there are many a little outside, and the few far outside among them are no surprise.
    """
    slack = -1.0  # two logarithms, and never below 0: taken only when it matters
    season = max(track[SEASON], 1.0)
    for level in range(LEVELS - 1, -1, -1):
        typical = track[TOTAL] >= track[OUTSIDE] * season * track[BAND + level]
        if typical and track[OUTSIDE + level] >= _MIN_OUTSIDE and track[SUM + level] >= _LIMIT[level]:
            if slack < 0.0:
                slack = math.log(max(1.0, track[RATE])) + math.log(1.0 + _DAMPING / max(track[WEIGHT], 1.0))
            if track[SUM + level] >= _LIMIT[level] + slack:
                return level + 1.0
    return 0.0


@compiled("void(float64, float64[:], float64[:, :], int64)", part=True)
def report(kind: float, track: Row, out: NDArray[np.float64], at: int) -> None:
    """Write a happening."""
    out[at, 0] = kind
    for i in range(SIZE):
        out[at, 1 + i] = track[i]


@compiled("float64(float64, float32[:], int64, float64[:])")
def end_if_silent(t: float, base: Base, low: int, track: Row) -> float:
    """Close what nothing was heard of for long; the happening's kind, or 0. The track is idle after it."""
    silent = t - track[LAST]
    if track[PHASE] == OPEN and silent >= _QUIET_MS:
        learn_company(track)
        track[PHASE] = IDLE
        return CLOSED_QUIET
    if track[PHASE] == PENDING and silent >= _PENDING_MS:
        dismiss(base, low, track)
    return 0.0


@compiled("void(float64, float64, float32[:], int64, float64[:])", part=True)
def note_outside(t: float, value: float, base: Base, low: int, track: Row) -> None:
    """Keep count of a call outside, and learn it as much as its standing allows."""
    track[TOTAL] += value
    if track[PEAK_AT] == 0.0 or value > track[PEAK]:
        track[PEAK] = value
        track[PEAK_AT] = t
    if track[ADOPTED] > 0.0:
        learn(value, 1.0, base, low, track)
    elif track[PHASE] == OPEN:
        learn(value, _FAINT, base, low, track)
    elif track[HELD] < HELD_MAX:
        track[HELD_VALUES + int(track[HELD])] = value
        track[HELD] += 1.0
    else:
        learn(value, 1.0, base, low, track)


@compiled("float64(float64, boolean, float64[:])", part=True)
def follow(t: float, outside: bool, track: Row) -> float:
    """Move an event under way by one call; 0, OPENED when it rose a level, or how it closed."""
    track[STRENGTH] = max(track[STRENGTH], track[SUM + int(track[LEVEL]) - 1])
    if outside and track[FRACTION] >= _GOING_ON:
        track[LAST] = max(track[LAST], t)
        track[QUIET] = 0.0
    else:
        track[QUIET] += 1.0
    level = level_reached(track)
    if level > track[LEVEL]:
        track[LEVEL] = level
        track[STRENGTH] = track[SUM + int(level) - 1]
        return OPENED
    if track[QUIET] >= _GAP_CALLS and t - track[LAST] >= _GAP_MS:
        learn_company(track)
        track[PHASE] = IDLE
        return CLOSED_ADOPTED if track[ADOPTED] > 0.0 else CLOSED_INSIDE
    return 0.0


@compiled("float64(float64, float64, float32[:], int64, float64[:])", part=True)
def judge_one(t: float, value: float, base: Base, low: int, track: Row) -> float:
    """One call against bands that are there; 0 or the happening's kind."""
    outside = value > track[BAND] * max(track[SEASON], 1.0)
    if track[PHASE] == IDLE:
        if not outside:
            learn(value, 1.0, base, low, track)
            return 0.0
        begin(t, track)
    elif track[PHASE] == PENDING and outside and t < track[START] - _GAP_MS:
        # It came late, and what began after it is another matter.
        dismiss(base, low, track)
        begin(t, track)
    track[CALLS] += 1.0
    weigh(value, track)
    track[FRACTION] *= 0.9
    if outside:
        track[FRACTION] += 0.1
        note_outside(t, value, base, low, track)
    else:
        learn(value, 1.0, base, low, track)
    if track[PHASE] == OPEN:
        # Of an alarm that an older program raised it is not known when.
        if t - (track[ALARMED] if track[HELD] == KEPT else track[START]) >= _ADOPT_MS:
            track[ADOPTED] = 1.0
        return follow(t, outside, track)
    level = level_reached(track)
    if level > 0.0:
        keep_usual(t, track)
        track[PHASE] = OPEN
        track[LEVEL] = level
        track[STRENGTH] = track[SUM + int(level) - 1]
        track[LAST] = max(track[LAST], t)
        track[QUIET] = 0.0
        return OPENED
    if outside:
        track[LAST] = max(track[LAST], t)
        track[QUIET] = 0.0
        return 0.0
    track[QUIET] += 1.0
    apart = track[QUIET] >= _GAP_CALLS and t - track[LAST] >= _GAP_MS
    if apart or max(track[SUM], track[SUM + 1], track[SUM + 2]) <= 0.0:
        dismiss(base, low, track)
    return 0.0


@compiled("float64(float64, float64, float32[:], int64, float64[:], float64, float64)", part=True)
def judge_any(t: float, value: float, base: Base, low: int, track: Row, ratio: float, excess: float) -> float:
    """One call of any kind after silence was looked at; 0 or the happening's kind."""
    if (track[PHASE] == IDLE or track[ADOPTED] > 0.0) and refresh_due(track):
        refresh(t, base, low, track, ratio, excess)
    if track[BAND] == 0.0:
        learn(value, 1.0, base, low, track)
        return 0.0
    return judge_one(t, value, base, low, track)


@compiled("int64(int64[::1], float64[::1], float32[::1], int64, float64[::1], int64)")
def pass_quiet(ts: NDArray[np.int64], x: Row, base: Base, low: int, track: Row, start: int) -> int:
    """Learn calls from row `start` on while nothing is under way, none is outside and no band is due: what `judge_any` would do
    with them, in registers. The row of the first other call.
    """
    band, weight, since, newest = track[BAND] * max(track[SEASON], 1.0), track[WEIGHT], track[SINCE], track[NEWEST]
    i = start
    while i < len(ts):
        # So many calls can come before bands are due: what it takes only grows with the weight.
        before_due = max(8.0, min(weight / 16.0, 1024.0)) - since if weight >= MIN_WEIGHT else 1.0
        if before_due <= 0.0:
            break
        stop = min(len(ts), i + math.ceil(before_due))
        stopped = stop
        for k in range(i, stop):
            value = x[k]
            if not math.isfinite(value):
                continue
            t = float(ts[k])
            if value > band:
                if t < newest - _LATE_MS:
                    continue
                stopped = k
                break
            newest = max(newest, t)
            place = bin_of(value) - low
            if 0 <= place < len(base):
                base[np.uint64(place)] += 1.0
                weight += 1.0
            since += 1.0
        i = stopped
        if stopped < stop:
            break
    track[WEIGHT], track[SINCE], track[NEWEST] = weight, since, newest
    return i


@compiled("int64(int64[::1], float64[::1], float32[::1], int64, float64[::1], int64)")
def pass_inside(ts: NDArray[np.int64], x: Row, base: Base, low: int, track: Row, start: int) -> int:
    """Likewise while a possible event is watched: the calls inside that neither dismiss it nor follow one outside. The row of the
    first call that does something else.
    """
    if track[PREVIOUS] > 0.0:
        return start
    for level in range(LEVELS):
        if track[CALM + level] == 0.0 or (
            track[OUTSIDE + level] >= _MIN_OUTSIDE and track[SUM + level] >= _LIMIT[level]
        ):
            return start
    band, weight, since, newest, last = (
        track[BAND] * max(track[SEASON], 1.0),
        track[WEIGHT],
        track[SINCE],
        track[NEWEST],
        track[LAST],
    )
    calls, quiet, fraction = track[CALLS], track[QUIET], track[FRACTION]
    low_sum, mid_sum, high_sum = track[SUM], track[SUM + 1], track[SUM + 2]
    i = start
    while i < len(ts):
        value, t = x[i], float(ts[i])
        if math.isfinite(value):
            if value > band or t < newest - _LATE_MS or t - last >= _GAP_MS:
                break
            low_next = max(0.0, low_sum + track[CALM])
            mid_next = max(0.0, mid_sum + track[CALM + 1])
            high_next = max(0.0, high_sum + track[CALM + 2])
            if low_next <= 0.0 and mid_next <= 0.0 and high_next <= 0.0:
                break
            low_sum, mid_sum, high_sum = low_next, mid_next, high_next
            newest = max(newest, t)
            calls += 1.0
            quiet += 1.0
            fraction *= 0.9
            place = bin_of(value) - low
            if 0 <= place < len(base):
                base[np.uint64(place)] += 1.0
                weight += 1.0
            since += 1.0
        i += 1
    track[WEIGHT], track[SINCE], track[NEWEST] = weight, since, newest
    track[CALLS], track[QUIET], track[FRACTION] = calls, quiet, fraction
    track[SUM], track[SUM + 1], track[SUM + 2] = low_sum, mid_sum, high_sum
    return i


@compiled(
    "UniTuple(int64, 2)(int64[::1], float64[::1], float32[::1], int64, float64[::1], float64, float64, float64[:, :], int64)"
)
def judge(
    ts: NDArray[np.int64],
    x: Row,
    base: Base,
    low: int,
    track: Row,
    ratio: float,
    excess: float,
    out: NDArray[np.float64],
    start: int,
) -> tuple[int, int]:
    """Judge the calls from row `start` on: (happenings written to `out`, next row to judge).

    The next row is below n when `out` f64[≥ 2, HAPPENING] is full; take them and call again. `ratio` and `excess` are the
    metric's margins. Values that are not finite are passed over. O(1) a call, amortised.
    """
    found = 0
    following = start
    while following < len(ts):
        if track[PHASE] == IDLE and track[BAND] > 0.0 and track[REFRESHED_AT] > 0.0:
            following = pass_quiet(ts, x, base, low, track, following)
        elif track[PHASE] == PENDING:
            following = pass_inside(ts, x, base, low, track, following)
        if following == len(ts):
            break
        i = following
        following += 1
        value = x[i]
        if not math.isfinite(value):
            continue
        if found + 2 > out.shape[0]:
            return found, i
        t = float(ts[i])
        if t < track[NEWEST] - _LATE_MS:
            if track[BAND] == 0.0 or value <= track[BAND] * max(track[SEASON], 1.0):
                learn(value, 1.0, base, low, track)
            continue
        track[NEWEST] = max(track[NEWEST], t)
        if track[REFRESHED_AT] == 0.0:
            track[REFRESHED_AT] = t
        kind = end_if_silent(t, base, low, track)
        if kind > 0.0:
            report(kind, track, out, found)
            found += 1
        kind = judge_any(t, value, base, low, track, ratio, excess)
        if kind > 0.0:
            report(kind, track, out, found)
            found += 1
    return found, len(ts)
