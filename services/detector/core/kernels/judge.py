"""Judge calls one by one against their series' own baseline: the `auto` detector of spikes.

A call is outside at a level when it lies above the z-score band *and* the percentile band of that level *and* the margin
above the median, all taken from a decaying histogram of earlier calls that were not abnormal. Three or more such calls, none
further from the next than ten calls and two minutes, are an event if they are rare enough among the calls between them: a
Bernoulli CUSUM (Reynolds & Stoumbos 1999) a level, whose alarm limit grows with the logarithm of the call rate, so that a busy
tool is allowed no more false alarms an hour than a quiet one, and with the youth of the baseline. Calls outside that are known
to come in rows weigh less. No calibration is claimed for the limits.

`track` f64[SIZE] is all that is kept of a series' metric besides its histogram; the constants below name its places.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.bins import bin_of, middle, rank_bin, upper
from services.detector.core.kernels.compiled import compiled

Row = NDArray[np.float64]

# What is known of the baseline.
WEIGHT, DECAYED_AT, SINCE, RATE, REFRESHED_AT, NEWEST, MEDIAN, LOWER = range(8)
BAND, CHANCE = 8, 11  # three places each: the levels' upper limits and chances of a call above them
# The event under way.
PHASE, START, LAST, CALLS, QUIET = 14, 15, 16, 17, 18
OUTSIDE, SUM = 19, 22  # three places each: calls outside, CUSUM
PEAK, PEAK_AT, TOTAL, FRACTION, LEVEL, STRENGTH, ADOPTED, HELD = 25, 26, 27, 28, 29, 30, 31, 32
HELD_VALUES = 33  # HELD_MAX places: values not learned yet
HELD_MAX: Final = 8
PAIRS, PREVIOUS = (
    41,
    44,
)  # three places: calls outside that followed another; levels that the call before was outside of
# What is known of how calls outside come together, fading like the baseline; three places each.
RUNS, FOLLOWED = 48, 51
SIZE: Final = 54

IDLE, PENDING, OPEN = 0.0, 1.0, 2.0
#: Happenings: a new event or a higher level of one; its end inside the band, in silence, or at a new level.
OPENED, CLOSED_INSIDE, CLOSED_QUIET, CLOSED_ADOPTED = 1.0, 2.0, 3.0, 4.0
#: A happening is its kind and the track at that moment.
HAPPENING: Final = SIZE + 1

_LEVELS = 3
_Z = (2.0, 2.5, 3.0)
_TAIL = (0.05, 0.01, 0.001)
#: Share of calls outside that the CUSUM of a level listens for, at least.
_LISTEN = (0.5, 0.2, 0.1)
#: Alarm limits at one call a minute.
_LIMIT = (6.0, 8.0, 11.0)
#: Most that the size of one call may add to the evidence: ln 10, a Pareto tail of index 1 up to ten times the limit.
_MAX_BOOST = 2.302585092994046
#: Calls of baseline at which the alarm limits stand ln 2 higher than for a long one: young bands are rough guesses.
_DAMPING = 200.0
#: Calls outside, none in a row, that are taken as known beforehand; and how many an episode can add.
_COMPANY_PRIOR = 10.0
_MOST_COMPANY = 5.0
_MIN_OUTSIDE = 3.0
_MIN_WEIGHT = 20.0
_GAP_MS = 120_000.0
_GAP_CALLS = 10.0
_QUIET_MS = 1_800_000.0
#: A call this much older than the newest is history, not news.
_LATE_MS = 900_000.0
#: Calls outside are forgotten when nothing follows for this long.
_PENDING_MS = 86_400_000.0
#: An event this old is the new normal: from now on it is learned.
_ADOPT_MS = 3_600_000.0
_HALF_LIFE_MS = 86_400_000.0
_DECAY_EVERY_MS = 600_000.0
#: Weight of a call outside during an event.
_FAINT = 0.1
#: Share of recent calls outside (decaying by a tenth a call) at which an event is still going on.
_GOING_ON = 0.15


@compiled("void(float64, float64, float64[:], int64, float64[:])")
def learn(value: float, weight: float, base: Row, low: int, track: Row) -> None:
    """Add a value to the baseline."""
    place = bin_of(value) - low
    if 0 <= place < len(base):
        base[place] += weight
        track[WEIGHT] += weight
    track[SINCE] += 1.0


@compiled("void(float64, float64[:], int64, float64[:], float64, float64)")
def refresh(t: float, base: Row, low: int, track: Row, ratio: float, excess: float) -> None:
    """Let the baseline fade to time `t` and take the bands from it."""
    if track[DECAYED_AT] == 0.0:
        track[DECAYED_AT] = t
    age = t - track[DECAYED_AT]
    if age >= _DECAY_EVERY_MS:
        fade = 0.5 ** (age / _HALF_LIFE_MS)
        for i in range(len(base)):
            base[i] *= fade
        track[WEIGHT] *= fade
        for i in range(RUNS, SIZE):
            track[i] *= fade
        track[DECAYED_AT] = t
    passed = max((t - track[REFRESHED_AT]) / 60_000.0, 1.0 / 60.0)
    now = track[SINCE] / passed
    track[RATE] = now if track[RATE] == 0.0 else 0.8 * track[RATE] + 0.2 * now
    track[REFRESHED_AT] = t
    track[SINCE] = 0.0
    weight = 0.0
    mean = 0.0
    for i in range(len(base)):
        weight += base[i]
        mean += base[i] * middle(low + i)
    track[WEIGHT] = weight
    if weight <= 0.0:
        return
    mean /= weight
    spread = 0.0
    for i in range(len(base)):
        if base[i] > 0.0:
            away = middle(low + i) - mean
            spread += base[i] * away * away
    deviation = math.sqrt(spread / weight)
    median = middle(low + rank_bin(base, 0.5 * weight))
    track[MEDIAN] = median
    track[LOWER] = middle(low + rank_bin(base, 0.05 * weight))
    margin = max(median * ratio, median + excess)
    for level in range(_LEVELS):
        tail = upper(low + rank_bin(base, (1.0 - _TAIL[level]) * weight))
        track[BAND + level] = max(margin, tail, mean + _Z[level] * deviation)
        track[CHANCE + level] = max(_TAIL[level], 1.0 / (weight + 1.0))


@compiled("boolean(float64[:])")
def refresh_due(track: Row) -> bool:
    """Whether enough was learned since the bands were taken."""
    if track[WEIGHT] < _MIN_WEIGHT:
        return False
    return bool(track[BAND] == 0.0 or track[SINCE] >= max(8.0, min(track[WEIGHT] / 16.0, 1024.0)))


@compiled("void(float64, float64[:])")
def begin(t: float, track: Row) -> None:
    """Start to watch a possible event at the first call outside."""
    for i in range(PHASE, RUNS):
        track[i] = 0.0
    track[PHASE] = PENDING
    track[START] = t
    track[LAST] = t


@compiled("void(float64[:])")
def learn_company(track: Row) -> None:
    """Remember whether calls outside came alone or in a row; of one episode no more than a few, so that one long incident does
    not make the next one ordinary.
    """
    for level in range(_LEVELS):
        track[RUNS + level] += min(track[OUTSIDE + level], _MOST_COMPANY)
        track[FOLLOWED + level] += min(track[PAIRS + level], _MOST_COMPANY)


@compiled("void(float64[:], int64, float64[:])")
def dismiss(base: Row, low: int, track: Row) -> None:
    """It was nothing: learn what was held back."""
    for i in range(int(track[HELD])):
        learn(track[HELD_VALUES + i], 1.0, base, low, track)
    track[HELD] = 0.0
    learn_company(track)
    track[PHASE] = IDLE


@compiled("void(float64, float64[:])")
def weigh(value: float, track: Row) -> None:
    """Move every level's CUSUM by one call. A call outside that follows another says less when they are known to come in rows."""
    before = track[PREVIOUS]
    track[PREVIOUS] = 0.0
    for level in range(_LEVELS):
        chance = track[CHANCE + level]
        if before > level:
            known = _COMPANY_PRIOR * chance + track[FOLLOWED + level]
            chance = max(chance, known / (_COMPANY_PRIOR + track[RUNS + level]))
        listen = max(min(max(_LISTEN[level], 5.0 * chance), 0.9), 0.5 + 0.5 * chance if before > level else 0.0)
        limit = track[BAND + level]
        if value > limit:
            boost = min(math.log(value / limit), _MAX_BOOST) if limit > 0.0 else 0.0
            track[SUM + level] = min(track[SUM + level] + math.log(listen / chance) + boost, 700.0)
            track[OUTSIDE + level] += 1.0
            track[PAIRS + level] += 1.0 if before > level else 0.0
            track[PREVIOUS] = level + 1.0
        else:
            track[SUM + level] = max(0.0, track[SUM + level] + math.log((1.0 - listen) / (1.0 - chance)))


@compiled("float64(float64[:])")
def level_reached(track: Row) -> float:
    """The least sensitive level at which the evidence suffices, 0 for none."""
    slack = math.log(max(1.0, track[RATE])) + math.log(1.0 + _DAMPING / max(track[WEIGHT], 1.0))
    for level in range(_LEVELS - 1, -1, -1):
        if track[OUTSIDE + level] >= _MIN_OUTSIDE and track[SUM + level] >= _LIMIT[level] + slack:
            return level + 1.0
    return 0.0


@compiled("void(float64, float64[:], float64[:, :], int64)")
def report(kind: float, track: Row, out: NDArray[np.float64], at: int) -> None:
    """Write a happening."""
    out[at, 0] = kind
    for i in range(SIZE):
        out[at, 1 + i] = track[i]


@compiled("float64(float64, float64[:], int64, float64[:])")
def end_if_silent(t: float, base: Row, low: int, track: Row) -> float:
    """Close what nothing was heard of for long; the happening's kind, or 0. The track is idle after it."""
    silent = t - track[LAST]
    if track[PHASE] == OPEN and silent >= _QUIET_MS:
        learn_company(track)
        track[PHASE] = IDLE
        return CLOSED_QUIET
    if track[PHASE] == PENDING and silent >= _PENDING_MS:
        dismiss(base, low, track)
    return 0.0


@compiled("void(float64, float64, float64[:], int64, float64[:])")
def note_outside(t: float, value: float, base: Row, low: int, track: Row) -> None:
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


@compiled("float64(float64, boolean, float64[:])")
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


@compiled("float64(float64, float64, float64[:], int64, float64[:])")
def judge_one(t: float, value: float, base: Row, low: int, track: Row) -> float:
    """One call against bands that are there; 0 or the happening's kind."""
    outside = value > track[BAND]
    if track[PHASE] == IDLE:
        if not outside:
            learn(value, 1.0, base, low, track)
            return 0.0
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
        if t - track[START] >= _ADOPT_MS:
            track[ADOPTED] = 1.0
        return follow(t, outside, track)
    level = level_reached(track)
    if level > 0.0:
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


@compiled(
    "UniTuple(int64, 2)(int64[:], float64[:], float64[:], int64, float64[:], float64, float64, float64[:, :], int64)"
)
def judge(
    ts: NDArray[np.int64],
    x: Row,
    base: Row,
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
    for i in range(start, len(ts)):
        value = x[i]
        if not math.isfinite(value):
            continue
        if found + 2 > out.shape[0]:
            return found, i
        t = float(ts[i])
        if t < track[NEWEST] - _LATE_MS:
            learn(value, 1.0, base, low, track)
            continue
        track[NEWEST] = max(track[NEWEST], t)
        if track[REFRESHED_AT] == 0.0:
            track[REFRESHED_AT] = t
        kind = end_if_silent(t, base, low, track)
        if kind > 0.0:
            report(kind, track, out, found)
            found += 1
        if (track[PHASE] == IDLE or track[ADOPTED] > 0.0) and refresh_due(track):
            refresh(t, base, low, track, ratio, excess)
        if track[BAND] == 0.0:
            learn(value, 1.0, base, low, track)
            continue
        kind = judge_one(t, value, base, low, track)
        if kind > 0.0:
            report(kind, track, out, found)
            found += 1
    return found, len(ts)
