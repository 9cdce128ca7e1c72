"""How unusual is the next point of a series? The scorer of `auto`: points (time, value) at any spacing, O(1) memory and time.

Few streams are derived from the points, each with a reason:

- `range`: the value itself. A spike, a drop.
- `shift`: its mean over the last hour. A level that single values do not leave far enough to tell.
- `drift`: its mean over the last six hours. Slow growth, leaks.
- `volatility`: its deviation over the last hour. A process that became restless, or flat.
- `jump`: the change from the point before. A break in a series that wanders anywhere in time.
- `season`: the hour's mean less what is usual for this hour of the day. A peak that is usual at noon is not at night, and the
  other way round; a day without its peak is unusual though every value was seen before.

Two questions are asked of them. *How far beyond its record?* The highest and the lowest value of each stream are kept and fade
towards its mean within months; the excess e beyond them, measured by the record's width and the deviation, gives e/(e + 1). A
record adapts to any distribution, cycle or heavy tail by itself: what is usual passes it seldom. But one event sets a record that
hides the next like it. So of `shift`, `volatility` and `season`: *how many deviations z off the mean?*, by a mean and a deviation
that learn no more than five deviations from any point; beyond five, g = z - 5 gives g/(g + 5). A part that answers often in this
series says less, and weighs less (`_BUDGET`). Their sum is the *strength*; no weight is fitted. It is damped while little is
known.

SCORE is for ranking and alerting: strength by the strength that alerts, and 0 unless it is beyond what is left of the strongest
point before (peak and hold, half-life a day and a half), so that one event alerts once. The remainder is not subtracted: a second
event of nearly the first one's strength is an event in full.

TAIL_P is calibrated, and not by a model of the values, which a heavy or quantised tail would belie: for each sensitivity a
limit is *controlled* so that it is passed as often as the sensitivity says. It rises with every passing and falls between them
(adaptive conformal inference: Gibbs & Candès 2021, with events in the place of points), whatever the distribution is.

A state is f64[SIZE]; the names below are its places. Values that are not finite are passed over.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled

Row = NDArray[np.float64]

#: Of the point observed last: the score, 1.0 alerts; its chance a look; what was expected and the band of the stream that
#: contributed most; that stream; the recent level's distance from the usual one in deviations.
SCORE, TAIL_P, EXPECTED, LOWER, UPPER, PART, LEVEL = range(7)
#: Strength before hold; how close to a record, and beyond it, for the limits; points seen; first and latest time, s.
STRENGTH, CLOSENESS, COUNT, FIRST_S, LAST_S = range(7, 12)
#: The value before; means over an hour and six hours; squares around the former; what is left of the last alert.
PREVIOUS, FAST, SLOW, FAST_SQUARES, HOLD = range(12, 17)
#: The latest step in time, s, and what fades in it: seven factors.
STEP, FADING = 17, 18
#: Three places each, low to high sensitivity: ln of the limit of CLOSENESS, and when it was last passed, s.
LIMIT, PASSED_S = 25, 28
#: Of each stream: mean, variance, highest, lowest; means of its two parts: beyond its record, far off its mean.
STREAM: Final = 31
_WIDTH: Final = 6
PARTS: Final = ("range", "shift", "drift", "volatility", "jump", "season")
_STREAMS: Final = len(PARTS)
_SEASON: Final = _STREAMS - 1
#: Streams up to this one are in the unit of the value and at its level.
_LEVELLED: Final = 2
#: Of each hour of the day (UTC): its mean, and the number of points.
HOUR_MEAN: Final = STREAM + _WIDTH * _STREAMS
HOUR_COUNT: Final = HOUR_MEAN + 24
SIZE: Final = HOUR_COUNT + 24

#: Chance of an alarm a look, by sensitivity: one a month, week, day at a look a minute.
LIMITS: Final = {"low": 1.0 / 43_200.0, "medium": 1.0 / 10_080.0, "high": 1.0 / 1_440.0}
#: Columns of what `observe_many` writes.
COLUMNS: Final = 7

_HOUR_S = 3_600.0
_DAY_S = 86_400.0
_FAST_S = _HOUR_S
_SLOW_S = 6.0 * _HOUR_S
#: No point is more than this share of a mean, however seldom points come.
_FAST_SHARE = 1.0 / 6.0
_SLOW_SHARE = 1.0 / 18.0
_HOUR_SHARE = 1.0 / 3.0
_USUAL_SHARE = 1.0 / 30.0
_OFTEN_SHARE = 1.0 / 60.0
#: Time over which a stream's mean and deviation are taken, and a record fades.
_USUAL_S = 7.0 * _DAY_S
_RECORD_S = 90.0 * _DAY_S
#: A record fades by so much in a step at most: a silence says nothing of how far values go.
_SILENT_S = _DAY_S
#: Time over which it is counted how often a part answers.
_OFTEN_S = 14.0 * _DAY_S
#: Time of an hour of the day itself: a week of days.
_OF_HOUR_S = 7.0 * _HOUR_S
_HOLD_S = 1.5 * _DAY_S / math.log(2.0)
#: Excess is counted in this share of the record's width, this of the deviation, and a floor for what is flat or quantised.
_OF_WIDTH = 0.1
_OF_DEVIATION = 0.5
_FLOOR_OF_MEAN = 1e-3
_FLOOR_OF_DEVIATION = 0.02
_FLOOR = 1e-12
#: Deviations at which the mean stops learning, and from which on a distance says something; half of what it can say is that much
#: further.
_CLIP = 5.0
_FAR = 5.0
_FAR_HALF = 5.0
#: Points before anything is clipped.
_UNCLIPPED = 50.0
#: A part that answers this much on average weighs half.
_BUDGET = 0.03
_OFTEN_FROM = 100.0
#: Age and points after which strength is damped by 1/e alone.
_YOUNG_S = 3.0 * _DAY_S
_YOUNG_POINTS = 50.0
_OLD_S = 20.0 * _YOUNG_S
_OLD_POINTS = 20.0 * _YOUNG_POINTS
#: The strength that alerts, and the one that CLOSENESS counts in.
_ALERT = 0.4
_CLOSE = 0.2
#: Values are cut to this, so that their squares are finite.
_HUGE = 1e100
#: Times are cut to this, so that their hours are whole numbers.
_ENDLESS_S = 1e15
_CAP_COUNT = 1e9
_LEVELS = 3
_RATES = (LIMITS["low"], LIMITS["medium"], LIMITS["high"])
#: Limits at first, as CLOSENESS, and how much ln of one rises when it is passed.
_FIRST_LIMITS = (math.log(5.0), math.log(2.5), math.log(1.2))
_GAIN = (0.3, 0.3, 0.2)
_LEAST_LIMIT = math.log(0.2)
_MOST_LIMIT = math.log(30.0)
#: Passings no further apart are one.
_APART_S = _HOUR_S
#: A look is a minute at most.
_LOOK_S = 60.0
_UNUSUAL_ENOUGH = -2.0


@compiled("void(float64, float64[:])", part=True)
def note_step(step_s: float, state: Row) -> None:
    """What fades in a step of time; the same for as long as points come at the same pace."""
    state[STEP] = step_s
    state[FADING] = min(1.0 - math.exp(-step_s / _FAST_S), _FAST_SHARE)
    state[FADING + 1] = min(1.0 - math.exp(-step_s / _SLOW_S), _SLOW_SHARE)
    state[FADING + 2] = min(1.0 - math.exp(-step_s / _USUAL_S), _USUAL_SHARE)
    state[FADING + 3] = math.exp(-min(step_s, _SILENT_S) / _RECORD_S)
    state[FADING + 4] = min(1.0 - math.exp(-step_s / _OF_HOUR_S), _HOUR_SHARE)
    state[FADING + 5] = math.exp(-step_s / _HOLD_S)
    state[FADING + 6] = min(1.0 - math.exp(-step_s / _OFTEN_S), _OFTEN_SHARE)


@compiled("void(float64, float64, float64[:])", part=True)
def begin(t_s: float, value: float, state: Row) -> None:
    """The first point of a series."""
    state[COUNT] = 1.0
    state[FIRST_S] = state[LAST_S] = t_s
    state[PREVIOUS] = state[FAST] = state[SLOW] = value
    state[TAIL_P] = 1.0
    state[EXPECTED] = state[LOWER] = state[UPPER] = value
    for k in range(3):
        at = STREAM + _WIDTH * k
        state[at] = state[at + 2] = state[at + 3] = value
    for level in range(_LEVELS):
        state[LIMIT + level] = _FIRST_LIMITS[level]
        state[PASSED_S + level] = -math.inf
    hour = math.floor(t_s / _HOUR_S) % 24
    state[HOUR_MEAN + hour] = value
    state[HOUR_COUNT + hour] = 1.0
    note_step(0.0, state)


@compiled("float64(float64, float64, float64[:])", part=True)
def control(closeness: float, t_s: float, state: Row) -> float:
    """Compare with the limits of the sensitivities, and move them; the chance of such a closeness a look."""
    looks = min(1.0, state[STEP] / _LOOK_S)
    distance = math.log(max(closeness, 1e-3))
    p, above, chance = 0.0, 0.0, 0.0
    for level in range(_LEVELS - 1, -1, -1):
        # From high to low sensitivity: a limit is never below that of a more sensitive setting.
        limit, rate = state[LIMIT + level], _RATES[level]
        if level == _LEVELS - 1:
            if distance < limit:
                p = rate ** max(0.0, (distance - _UNUSUAL_ENOUGH) / (limit - _UNUSUAL_ENOUGH))
        else:
            limit = max(limit, above + 0.02)
            if p == 0.0 and distance < limit:
                p = chance * (rate / chance) ** ((distance - above) / (limit - above))
        above, chance = limit, rate
        if distance >= limit:
            if t_s - state[PASSED_S + level] >= _APART_S:
                state[LIMIT + level] = min(limit + _GAIN[level], _MOST_LIMIT)
            state[PASSED_S + level] = t_s
        else:
            state[LIMIT + level] = max(state[LIMIT + level] - _GAIN[level] * rate * looks, _LEAST_LIMIT)
    if p == 0.0:
        p = chance * math.exp(-2.0 * (distance - above))
    return min(max(p, 1e-12), 1.0)


@compiled("float64(float64, float64, float64[:])", part=True)
def observe_next(  # noqa: C901, PLR0912, PLR0915 - one pass over registers; `twin` says it in parts
    t_s: float, value: float, state: Row
) -> float:
    """A point that is not the first; its score."""
    step_s = max(t_s - state[LAST_S], 0.0)
    if step_s != state[STEP]:
        note_step(step_s, state)
    state[LAST_S] = max(state[LAST_S], t_s)
    count = min(state[COUNT] + 1.0, _CAP_COUNT)
    state[COUNT] = count
    least = 1.0 / count
    # The streams.
    share = max(state[FADING], least)
    away = value - state[FAST]
    fast = state[FAST] + share * away
    squares = (1.0 - share) * (state[FAST_SQUARES] + share * away * away)
    slow = state[SLOW] + max(state[FADING + 1], least) * (value - state[SLOW])
    hour = math.floor(t_s / _HOUR_S) % 24
    of_hour, seen = state[HOUR_MEAN + hour], state[HOUR_COUNT + hour] + 1.0
    age_s = state[LAST_S] - state[FIRST_S]
    seasonal = age_s >= _DAY_S and seen > 1.0
    state[HOUR_COUNT + hour] = min(seen, _CAP_COUNT)
    state[HOUR_MEAN + hour] = of_hour + max(state[FADING + 4], 1.0 / seen) * (fast - of_hour)
    jump = abs(value - state[PREVIOUS])
    state[PREVIOUS], state[FAST], state[SLOW], state[FAST_SQUARES] = value, fast, slow, squares
    # What each says.
    usual, deviation = state[STREAM], math.sqrt(state[STREAM + 1])
    floor = _FLOOR_OF_MEAN * abs(usual) + _FLOOR_OF_DEVIATION * deviation + _FLOOR
    by_hour = seasonal and state[STREAM + _WIDTH * _SEASON + 1] < state[STREAM + _WIDTH + 1]
    state[EXPECTED] = of_hour if by_hour else usual
    lower, upper = state[STREAM + 3], state[STREAM + 2]
    state[LOWER], state[UPPER] = lower, upper
    share, fading = max(state[FADING + 2], least), state[FADING + 3]
    often = max(state[FADING + 6], 1.0 / (count + _OFTEN_FROM))
    damping = 1.0
    if age_s < _OLD_S or count < _OLD_POINTS:
        damping = (1.0 - math.exp(-age_s / _YOUNG_S)) * (1.0 - math.exp(-count / _YOUNG_POINTS))
    strength, closeness, most = 0.0, 0.0, 0.0
    for k in range(_STREAMS):
        at = STREAM + _WIDTH * k
        mean, variance, high, low = state[at], state[at + 1], state[at + 2], state[at + 3]
        if k == 0:
            x = value
        elif k == 1:
            x = fast
        elif k == 2:
            x = slow
        elif k == 3:
            x = math.sqrt(squares)
        elif k == 4:
            x = jump
        else:
            if not seasonal:
                continue
            x = fast - of_hour
            damping *= min(1.0, (age_s - _DAY_S) / _DAY_S)
        away = x - mean
        scale = math.sqrt(variance) + floor
        beyond = max(x - high, low - x)
        told = 0.0
        if beyond > 0.0:
            excess = beyond / (_OF_WIDTH * (high - low) + _OF_DEVIATION * scale)
            part = excess / (excess + 1.0)
            told = part * (_BUDGET / (_BUDGET + state[at + 4]))
            state[at + 4] += often * (part - state[at + 4])
        else:
            state[at + 4] -= often * state[at + 4]
            room = high - mean if away > 0.0 else mean - low
            closeness = max(closeness, abs(away) / (room + floor))
        if k & 1:
            further = abs(away) - _FAR * scale
            if further > 0.0:
                part = further / (further + _FAR_HALF * scale)
                told += part * (_BUDGET / (_BUDGET + state[at + 5]))
                state[at + 5] += often * (part - state[at + 5])
            else:
                state[at + 5] -= often * state[at + 5]
        if told > 0.0:
            told *= damping
            strength += told
            if told > most:
                most = told
                state[PART] = k
                state[LOWER], state[UPPER] = (low, high) if k <= _LEVELLED else (lower, upper)
        if count > _UNCLIPPED:
            clip = _CLIP * scale
            away = min(max(away, -clip), clip)
        mean += share * away
        state[at] = mean
        state[at + 1] = (1.0 - share) * (variance + share * away * away)
        state[at + 2] = max(x, mean + (high - mean) * fading)
        state[at + 3] = min(x, mean + (low - mean) * fading)
    state[LEVEL] = (fast - usual) / (deviation + floor)
    state[STRENGTH] = strength
    if strength > 0.0:
        closeness = 1.0 + strength / _CLOSE
    state[CLOSENESS] = closeness
    state[TAIL_P] = control(closeness, t_s, state)
    hold = state[HOLD] * state[FADING + 5]
    score = strength / _ALERT if strength > hold else 0.0
    state[HOLD] = max(strength, hold)
    state[SCORE] = score
    return float(score)


@compiled("float64(float64, float64, float64[:])")
def observe(t_s: float, value: float, state: Row) -> float:
    """Take a point at `t_s` (epoch s) into a state; its SCORE. The places of a point describe it until the next one. A point that
    is not finite changes nothing and scores 0; one older than the latest counts as coming with that.
    """
    if not (math.isfinite(t_s) and math.isfinite(value)):
        return 0.0
    t_s, value = min(max(t_s, -_ENDLESS_S), _ENDLESS_S), min(max(value, -_HUGE), _HUGE)
    if state[COUNT] == 0.0:
        begin(t_s, value, state)
        return 0.0
    return float(observe_next(t_s, value, state))


@compiled("void(float64[:], float64[:], float64[:], float64[:, :])")
def observe_many(t_s: Row, values: Row, state: Row, out: NDArray[np.float64]) -> None:
    """`observe` point by point; out f64[n, COLUMNS]: SCORE … LEVEL after each, of points that are not finite score 0 and p 1."""
    for i in range(len(t_s)):
        if not (math.isfinite(t_s[i]) and math.isfinite(values[i])):
            for k in range(COLUMNS):
                out[i, k] = state[k]
            out[i, SCORE], out[i, TAIL_P] = 0.0, 1.0
            continue
        time_s, value = min(max(t_s[i], -_ENDLESS_S), _ENDLESS_S), min(max(values[i], -_HUGE), _HUGE)
        if state[COUNT] == 0.0:
            begin(time_s, value, state)
        else:
            observe_next(time_s, value, state)
        for k in range(COLUMNS):
            out[i, k] = state[k]
