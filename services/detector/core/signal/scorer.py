"""How unusual is the next point of a series? The scorer of `auto`: points (time, value) at any spacing, O(1) memory and time.

Two questions are asked, each of the few streams that it suits, and each for a reason.

*How far beyond its record?* The highest and the lowest value of a stream are kept and fade towards its mean within two months;
the excess e beyond them, measured by the record's width and the deviation, says e/(e + 1). A record adapts to any distribution,
cycle or heavy tail by itself: what is usual passes it seldom. It is asked of

- `range`: the value itself. A spike, a drop.
- `shift`: its mean over the last hour. A level that single values do not leave far enough to tell.
- `season`: the hour's mean less what is usual for this hour of the day. A peak that is usual at noon is not at night, and the
  other way round; a day without its peak is unusual though every value was seen before.

*How many deviations off its mean?* For one event sets a record that hides the next like it. Mean and deviation learn no more
than five deviations from any point; z of them say nothing up to eight, and beyond g = z - 8 gives g/(g + 8). It is asked of

- `hour`: the middle one of the last three values less what is usual for this hour, measured by how far values go off it at
  this hour. Nights are quieter than days, and one late or odd value is not an event.
- `jump`: the step from one such middle value to the next. A break in a series that wanders anywhere in time.

A part that answers often in this series says less, and weighs less (budgets). The sum of the parts is the *strength*; no weight
is fitted. It is damped while little is known.

SCORE is for ranking and alerting. Each question's strength counts only beyond what is left of its strongest answer before (peak
and hold, half-life a day), so that one event alerts once; then it counts in full, not less the remainder: a second event nearly
as strong as the first is an event. What is short of what this series shows about daily counts in proportion.

All is measured in time. Where points come seldom, every 10 minutes and less often, the long times stretch with their spacing,
and the hour's mean takes six points at least; a silence stretches nothing, nor does it make one point the mean.

TAIL_P is calibrated by how often it was reached, whatever the tail (`limits`).

A state is f64[SIZE]; the names below are its places. Values that are not finite are passed over.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled
from services.detector.core.signal import limits

Row = NDArray[np.float64]

#: Of the point observed last: the score, 1.0 alerts; its chance a look; what was expected and the band of the stream that
#: contributed most; that stream; the recent level's distance from the usual one in deviations.
SCORE, TAIL_P, EXPECTED, LOWER, UPPER, PART, LEVEL = range(7)
#: Strength before hold; how close to a record, and beyond it, for the limits; points seen; first and latest time, s.
STRENGTH, CLOSENESS, COUNT, FIRST_S, LAST_S = range(7, 12)
#: The two values before, and the middle one of three then; the mean over an hour; mean distance from the hour of the day's usual.
PREVIOUS, BEFORE, MIDDLE, FAST, OFF = range(12, 17)
#: What is left of the strongest answer to either question; the usual step in time, s.
RECORD_HOLD, FAR_HOLD, PACE = range(17, 20)
#: The latest step and pace for which was reckoned what fades in a step: six factors; and how much the long times stretch.
STEP, STEP_PACE, FADING, STRETCH = 20, 21, 22, 28
#: The limits of CLOSENESS.
LIMIT = 29
#: Of each part: its stream's mean, variance, highest and lowest value, and the mean of what the part says.
STREAM: Final = LIMIT + limits.SIZE
_WIDTH: Final = 5
PARTS: Final = ("range", "shift", "season", "hour", "jump")
_RANGE, _SHIFT, _SEASON, _HOUR, _JUMP = (STREAM + _WIDTH * number for number in range(len(PARTS)))
#: Of each hour of the day (UTC): its mean, the number of points, and the mean distance of values from it.
HOUR_MEAN: Final = STREAM + _WIDTH * len(PARTS)
HOUR_COUNT: Final = HOUR_MEAN + 24
HOUR_OFF: Final = HOUR_COUNT + 24
SIZE: Final = HOUR_OFF + 24

#: Chance of an alarm a look, by sensitivity.
LIMITS: Final = limits.LIMITS
#: Columns of what `observe_many` writes.
COLUMNS: Final = 7

_HOUR_S = 3_600.0
_DAY_S = 86_400.0
_FAST_S = _HOUR_S
#: Points that the hour's mean takes at least.
_FAST_POINTS = 6.0
#: Spacing from which on the long times stretch with it.
_DENSE_S = 600.0
#: Share of one step in the usual spacing; what a silence counts as, so many times that; points before silences are told.
_PACE_SHARE = 0.01
_PACE_CLIP = 2.0
_PACE_FROM = 4.0
#: The spacing may change by this share before what fades in a step is reckoned anew.
_PACE_CHANGE = 0.05
#: Time over which a stream's mean and deviation are taken, a record fades, and how often a part answers is counted.
_USUAL_S = 7.0 * _DAY_S
_RECORD_S = 60.0 * _DAY_S
_OFTEN_S = 14.0 * _DAY_S
#: No point after a silence is more than this share of a mean; a record fades by so much in a step at most.
_FAST_SHARE = 1.0 / 3.0
_HOUR_SHARE = 1.0 / 3.0
_USUAL_SHARE = 1.0 / 30.0
_OFTEN_SHARE = 1.0 / 60.0
_SILENT_S = _DAY_S
#: Time of an hour of the day itself: a week of days.
_OF_HOUR_S = 7.0 * _HOUR_S
_HOLD_S = _DAY_S / math.log(2.0)
#: Excess is counted in this share of the record's width, the deviation, and a floor for what is flat or quantised.
_OF_WIDTH = 0.1
_FLOOR_OF_MEAN = 1e-3
_FLOOR_OF_DEVIATION = 0.02
_FLOOR = 1e-12
#: Distances from an hour's usual value are counted in the hour's own, this share of those of all hours, and a floor.
_OF_ALL_HOURS = 0.3
_FLOOR_OF_HOUR = 0.02
#: They are cut to this: of an hour that was always the same, everything is far.
_MOST_OFF = 1e6
#: Times the mean distance at which a distance from the hour's usual is cut, once so many points were seen.
_OFF_CLIP = 6.0
_OFF_UNCLIPPED = 100.0
#: Deviations at which the mean stops learning, points before it does, and deviations from which on a distance says something;
#: half of what it can say is that much further.
_CLIP = 5.0
_UNCLIPPED = 50.0
_FAR = 8.0
#: A part that says this much on average weighs half.
_RECORD_BUDGET = 0.01
_FAR_BUDGET = 0.002
_OFTEN_FROM = 100.0
#: Age and points after which strength is damped by 1/e alone, and from which on not at all.
_YOUNG_S = 3.0 * _DAY_S
_YOUNG_POINTS = 50.0
_OLD = 20.0
#: The strength that alerts, and the one that CLOSENESS counts in.
_ALERT = 0.27
_CLOSE = 0.2
#: Values are cut to this, so that their squares are finite, in a state that is kept in single precision too.
_HUGE = 1e18
#: Times are cut to this, so that their hours are whole numbers.
_ENDLESS_S = 1e15
_CAP_COUNT = 1e9


@compiled("void(float64, float64[:])", part=True)
def note_step(step_s: float, state: Row) -> None:
    """What fades in a step of time; the same for as long as points come at the same pace."""
    pace_s = state[PACE]
    stretch = max(1.0, pace_s / _DENSE_S)
    state[STEP], state[STEP_PACE], state[STRETCH] = step_s, pace_s, stretch
    state[FADING] = min(1.0 - math.exp(-step_s / max(_FAST_S, _FAST_POINTS * pace_s)), _FAST_SHARE)
    state[FADING + 1] = min(1.0 - math.exp(-step_s / (_USUAL_S * stretch)), _USUAL_SHARE)
    state[FADING + 2] = math.exp(-min(step_s, _SILENT_S) / (_RECORD_S * stretch))
    state[FADING + 3] = min(1.0 - math.exp(-step_s / (_OFTEN_S * stretch)), _OFTEN_SHARE)
    state[FADING + 4] = min(1.0 - math.exp(-step_s / _OF_HOUR_S), _HOUR_SHARE)
    state[FADING + 5] = math.exp(-step_s / _HOLD_S)


@compiled("void(float64, float64, float64[:])", part=True)
def begin(t_s: float, value: float, state: Row) -> None:
    """The first point of a series."""
    state[COUNT] = 1.0
    state[FIRST_S] = state[LAST_S] = t_s
    state[PREVIOUS] = state[BEFORE] = state[MIDDLE] = state[FAST] = value
    state[TAIL_P] = 1.0
    state[EXPECTED] = state[LOWER] = state[UPPER] = value
    for at in (_RANGE, _SHIFT):
        state[at] = state[at + 2] = state[at + 3] = value
    limits.begin(LIMIT, state)
    hour = math.floor(t_s / _HOUR_S) % 24
    state[HOUR_MEAN + hour] = value
    state[HOUR_COUNT + hour] = 1.0
    note_step(0.0, state)


@compiled("void(float64, int64, float64, float64[:])", part=True)
def learn(away: float, at: int, share: float, state: Row) -> None:
    """Mean and variance of a stream that is `away` from its mean."""
    state[at] += share * away
    state[at + 1] = (1.0 - share) * (state[at + 1] + share * away * away)


@compiled("float64(float64, int64, float64, float64, float64, float64[:])", part=True)
def beyond_record(x: float, at: int, floor: float, share: float, often: float, state: Row) -> float:
    """What a stream's value says of its record, and its learning; within, how close it came to it, less than 0."""
    mean, high, low = state[at], state[at + 2], state[at + 3]
    away, scale = x - mean, math.sqrt(state[at + 1]) + floor
    beyond, said, told = max(x - high, low - x), 0.0, 0.0
    if beyond > 0.0:
        excess = beyond / (_OF_WIDTH * (high - low) + scale)
        said = excess / (excess + 1.0)
        told = said * (_RECORD_BUDGET / (_RECORD_BUDGET + state[at + 4]))
    else:
        told = -abs(away) / ((high - mean if away > 0.0 else mean - low) + floor)
    state[at + 4] += often * (said - state[at + 4])
    state[at + 2] = max(x, mean + (high - mean) * state[FADING + 2])
    state[at + 3] = min(x, mean + (low - mean) * state[FADING + 2])
    learn(away, at, share, state)
    return float(told)


@compiled("float64(float64, int64, float64, float64, float64, float64[:])", part=True)
def far_off(x: float, at: int, floor: float, share: float, often: float, state: Row) -> float:
    """What a stream's distance from its mean says, and its learning; where it says nothing, how close it came to, less than 0."""
    away, scale = x - state[at], math.sqrt(state[at + 1]) + floor
    further, said, told = abs(away) - _FAR * scale, 0.0, 0.0
    if further > 0.0:
        said = further / (further + _FAR * scale)
        told = said * (_FAR_BUDGET / (_FAR_BUDGET + state[at + 4]))
    else:
        told = -abs(away) / (_FAR * scale)
    state[at + 4] += often * (said - state[at + 4])
    if state[COUNT] > _UNCLIPPED:
        away = min(max(away, -_CLIP * scale), _CLIP * scale)
    learn(away, at, share, state)
    return float(told)


@compiled("float64(float64, float64, float64[:])", part=True)
def observe_next(  # noqa: PLR0915 - one pass over registers; `twin` says it in parts
    t_s: float, value: float, state: Row
) -> float:
    """A point that is not the first; its score."""
    step_s = max(t_s - state[LAST_S], 0.0)
    count = min(state[COUNT] + 1.0, _CAP_COUNT)
    least = 1.0 / count
    pace_s = state[PACE]
    usual_step_s = min(step_s, _PACE_CLIP * pace_s) if count > _PACE_FROM else step_s
    pace_s += max(1.0 / (count - 1.0), _PACE_SHARE) * (usual_step_s - pace_s)
    state[PACE] = pace_s
    if step_s != state[STEP] or abs(pace_s - state[STEP_PACE]) > _PACE_CHANGE * state[STEP_PACE]:
        note_step(step_s, state)
    state[LAST_S] = max(state[LAST_S], t_s)
    state[COUNT] = count
    age_s = (state[LAST_S] - state[FIRST_S]) / state[STRETCH]
    # The streams.
    previous, before = state[PREVIOUS], state[BEFORE]
    middle = max(min(value, previous), min(max(value, previous), before))
    jump = abs(middle - state[MIDDLE])
    fast = state[FAST] + max(state[FADING], least) * (value - state[FAST])
    state[PREVIOUS], state[BEFORE], state[MIDDLE], state[FAST] = value, previous, middle, fast
    hour = math.floor(t_s / _HOUR_S) % 24
    of_hour, seen = state[HOUR_MEAN + hour], state[HOUR_COUNT + hour] + 1.0
    share, often = max(state[FADING + 1], least), max(state[FADING + 3], 1.0 / (count + _OFTEN_FROM))
    usual, deviation = state[_RANGE], math.sqrt(state[_RANGE + 1])
    floor = _FLOOR_OF_MEAN * abs(usual) + _FLOOR_OF_DEVIATION * deviation + _FLOOR
    season, off, off_scale = 0.0, 0.0, 1.0
    if seen > 1.0:
        season, off = fast - of_hour, middle - of_hour
        off_scale = state[HOUR_OFF + hour] + _OF_ALL_HOURS * state[OFF] + _FLOOR_OF_MEAN * abs(usual) + _FLOOR
    by_hour = seen > 1.0 and age_s >= _DAY_S and state[_SEASON + 1] < state[_SHIFT + 1]
    state[EXPECTED] = of_hour if by_hour else usual
    band = state[_RANGE + 3], state[_RANGE + 2]
    level_band = state[_SHIFT + 3], state[_SHIFT + 2]
    share_of_hour = max(state[FADING + 4], 1.0 / seen)
    distance = abs(off)
    if count > _OFF_UNCLIPPED:
        distance = min(distance, _OFF_CLIP * (state[OFF] + _FLOOR))
    state[OFF] += share * (distance - state[OFF])
    state[HOUR_OFF + hour] += share_of_hour * (distance - state[HOUR_OFF + hour])
    state[HOUR_MEAN + hour] = of_hour + share_of_hour * (fast - of_hour)
    state[HOUR_COUNT + hour] = min(seen, _CAP_COUNT)
    # What each says.
    told = (
        beyond_record(value, _RANGE, floor, share, often, state),
        beyond_record(fast, _SHIFT, floor, share, often, state),
        beyond_record(season, _SEASON, floor, share, often, state),
        far_off(min(max(off / off_scale, -_MOST_OFF), _MOST_OFF), _HOUR, _FLOOR_OF_HOUR, share, often, state),
        far_off(jump, _JUMP, floor, share, often, state),
    )
    damping = 1.0
    if age_s < _OLD * _YOUNG_S or count < _OLD * _YOUNG_POINTS:
        damping = (1.0 - math.exp(-age_s / _YOUNG_S)) * (1.0 - math.exp(-count / _YOUNG_POINTS))
    from_records = damping * (max(told[0], 0.0) + max(told[1], 0.0) + max(told[2], 0.0))
    from_far = damping * (max(told[3], 0.0) + max(told[4], 0.0))
    strength = from_records + from_far
    most, part = 0.0, state[PART]
    for k in range(len(PARTS)):
        if told[k] > most:
            most, part = told[k], float(k)
    state[PART] = part
    if most > 0.0 and part == 1.0:
        band = level_band
    state[LOWER], state[UPPER] = band
    state[LEVEL] = (fast - usual) / (deviation + floor)
    state[STRENGTH] = strength
    closeness = 1.0 + strength / _CLOSE
    if strength == 0.0:
        closeness = -min(told[0], told[1], told[2], told[3], told[4], 0.0)
    state[CLOSENESS] = closeness
    state[TAIL_P] = limits.chance_of(closeness, t_s, step_s, LIMIT, state)
    score = 0.0
    record_hold, far_hold = state[RECORD_HOLD] * state[FADING + 5], state[FAR_HOLD] * state[FADING + 5]
    if from_records > record_hold:
        score, record_hold = from_records / _ALERT, from_records
    if from_far > far_hold:
        score, far_hold = score + from_far / _ALERT, from_far
    if score > 0.0:
        score *= min(1.0, closeness * math.exp(-state[LIMIT + limits.DAILY]))
    state[RECORD_HOLD], state[FAR_HOLD], state[SCORE] = record_hold, far_hold, score
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
