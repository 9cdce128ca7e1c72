"""The course of an anomaly in one signal (a series' metric, a point a closed minute): when it begins, goes on and ends.

A point is outside at a sensitivity when the scorer's tail probability is below that sensitivity's limit *and* the value has left
the metric's margin around what was expected. From the first point outside on, the expected value stands still, for the scorer
learns: the event goes on while values stay beyond half the margin, and ends when they have been back for a while, when no call
came for long, or when the level has lasted so long that it is the usual one.

What a sensitivity allows (one false alarm a month, a week, a day and series) is for all layers of a series together. The limits
here are the scorer's for one stream of points; an event needs the margin and `fewest` points more, which leaves of them less than
a tenth, so that five signals, the calls' own judges and the sweep stay below it together.

`track` f64[SIZE] is all that is kept of an event under way.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled
from services.detector.core.metrics import METRICS, SENSITIVITIES
from services.detector.core.signal import scorer

Row = NDArray[np.float64]

# Places of a track. Times are epoch ms: START the first point outside, LAST the latest, PEAK_AT the worst.
PHASE, START, LAST, PEAK, PEAK_AT, POINTS, CALLS, TOTAL = range(8)
EXPECTED, LOWER, UPPER, LEVEL, TAIL, PART, QUIET, LIMIT = range(8, 16)
SIZE: Final = 16

IDLE, PENDING, OPEN = 0.0, 1.0, 2.0
#: Happenings: a new event, or a higher level of one; how it ended.
OPENED, CLOSED_INSIDE, CLOSED_QUIET, CLOSED_ADOPTED = 1.0, 2.0, 3.0, 4.0
#: Not one of an event: response times worth a look at the calls themselves (`shifts`).
SUSPECTED = 5.0

#: Signals of a series: METRICS, and calls a minute.
CALLS_SIGNAL: Final = len(METRICS)
SIGNALS: Final = len(METRICS) + 1
CPU_SIGNAL: Final = 1

#: Tail probabilities below which a point is outside, by level: from wide to narrow.
LIMITS: Final = tuple(scorer.LIMITS[name] for name in SENSITIVITIES)
#: Columns: margin ratio, margin excess (of METRICS; of calls a minute), fewest points of an event, whether less is abnormal too.
MARGINS: Final = np.array(
    [*((metric.margin_ratio, metric.margin_excess, 2.0, 0.0) for metric in METRICS), (4.0, 30.0, 10.0, 1.0)]
)

#: Calls that an event needs.
_MIN_CALLS = 3.0
#: Share of the margin beyond which an event goes on.
_HYSTERESIS = 0.5
#: Points back inside, and time since the last one outside, after which an event is over; a suspicion needs fewer points.
_BACK_POINTS = 3.0
_BACK_MS = 180_000.0
_PENDING_POINTS = 2.0
#: Silence after which an event is over.
_SILENT_MS = 6 * 3_600_000.0
#: A level this old is the usual one; that no calls come never is.
_ADOPT_MS = 3 * 3_600_000.0
#: CPU that is abnormal wherever it is not usual, % (sustained for so many points).
_CEILING = 95.0
_CEILING_POINTS = 5.0
_CEILING_LEVEL = 2.0
#: ln of how many times the expected response time a single call is worth a look.
_LOOK_AT = 0.6
_LOW, _MEDIUM, _HIGH = LIMITS[2], LIMITS[1], LIMITS[0]


@compiled("float64(float64)", part=True)
def level_of(p: float) -> float:
    """The level of the least sensitive setting that a tail probability reaches, 0 for none."""
    if p <= _LOW:
        return 3.0
    if p <= _MEDIUM:
        return 2.0
    return 1.0 if p <= _HIGH else 0.0


@compiled("boolean(float64, float64, float64, float64, float64, boolean)", part=True)
def beyond(value: float, expected: float, ratio: float, excess: float, share: float, both: bool) -> bool:
    """Whether a value has left `share` of the margin above what was expected; with `both`, below it too."""
    margin = max(expected * (ratio - 1.0), excess)
    if value >= expected + share * margin:
        return True
    return both and expected >= excess and value <= expected / (1.0 + share * (ratio - 1.0))


@compiled("void(float64, float64, float64[::1])", part=True)
def note(t_ms: float, value: float, track: Row) -> None:
    """Count a point outside."""
    track[LAST] = t_ms
    track[POINTS] += 1.0
    track[TOTAL] += value
    if track[POINTS] == 1.0 or abs(value - track[EXPECTED]) > abs(track[PEAK] - track[EXPECTED]):
        track[PEAK] = value
        track[PEAK_AT] = t_ms


@compiled("float64(float64, float64[::1])")
def end_if_silent(t_ms: float, track: Row) -> float:
    """Close what nothing was heard of for long; the happening's kind, or 0."""
    if track[PHASE] != IDLE and t_ms - track[LAST] >= _SILENT_MS:
        kind = CLOSED_QUIET if track[PHASE] == OPEN else 0.0
        track[PHASE] = IDLE
        return kind
    return 0.0


@compiled("boolean(float64, float64, float64)", part=True)
def worth_a_look(value: float, calls: float, expected: float) -> bool:
    """Whether a minute's response time is so much above the expected one, the sooner the more calls it has."""
    return expected > 0.0 and value > expected and math.log(value / expected) * math.sqrt(calls) >= _LOOK_AT


@compiled("void(float64, float64, float64[:], float64[::1])", part=True)
def begin(t_ms: float, fewest: float, state: Row, track: Row) -> None:
    """Suspect an event from a first point outside on."""
    for i in range(SIZE):
        track[i] = 0.0
    track[PHASE], track[START] = PENDING, t_ms
    track[EXPECTED], track[LOWER], track[UPPER] = state[scorer.EXPECTED], state[scorer.LOWER], state[scorer.UPPER]
    track[TAIL], track[LIMIT] = 1.0, fewest


@compiled("float64(float64, float64[::1])", part=True)
def pass_inside(t_ms: float, track: Row) -> float:
    """A point back inside; 0 or how the event ended by it."""
    track[QUIET] += 1.0
    if track[PHASE] == PENDING:
        if track[QUIET] >= _PENDING_POINTS:
            track[PHASE] = IDLE
    elif track[QUIET] >= _BACK_POINTS and t_ms - track[LAST] >= _BACK_MS:
        track[PHASE] = IDLE
        return CLOSED_INSIDE
    return 0.0


@compiled("float64(float64, float64, float64, float64, int64, float64[:], float64[::1])", part=True)
def pass_outside(t_ms: float, value: float, calls: float, level: float, signal: int, state: Row, track: Row) -> float:
    """A point outside; OPENED, 0 or how the event ended by it."""
    note(t_ms, value, track)
    track[QUIET] = 0.0
    track[CALLS] += calls
    higher = level > track[LEVEL]
    track[LEVEL] = max(level, track[LEVEL])
    if state[scorer.TAIL_P] < track[TAIL]:
        track[TAIL], track[PART] = state[scorer.TAIL_P], state[scorer.PART]
    if track[PHASE] == PENDING:
        if track[POINTS] < track[LIMIT] or (track[CALLS] < _MIN_CALLS and signal != CALLS_SIGNAL):
            return 0.0
        track[PHASE] = OPEN
        return OPENED
    silent = signal == CALLS_SIGNAL and value == 0.0
    if t_ms - track[START] >= _ADOPT_MS and not silent:
        track[PHASE] = IDLE
        return CLOSED_ADOPTED
    return OPENED if higher else 0.0


@compiled("float64(float64, float64, float64, int64, float64[:], float64[::1], float64[::1])")
def follow(t_ms: float, value: float, calls: float, signal: int, state: Row, track: Row, margins: Row) -> float:
    """Move the course by the point that the scorer has just taken into `state`; 0 or the happening's kind."""
    ratio, excess, fewest, both = margins[0], margins[1], margins[2], margins[3] > 0.0
    level = level_of(state[scorer.TAIL_P])
    expected = state[scorer.EXPECTED]
    if signal == CPU_SIGNAL and value >= _CEILING and expected < _CEILING - excess:
        ratio = 1.0
        if level < _CEILING_LEVEL:
            level, fewest = _CEILING_LEVEL, _CEILING_POINTS
    if track[PHASE] == IDLE:
        if level == 0.0 or not beyond(value, expected, ratio, excess, 0.5 * level, both):
            return SUSPECTED if signal == 0 and worth_a_look(value, calls, expected) else 0.0
        begin(t_ms, fewest, state, track)
    share = 1.0 if track[PHASE] == PENDING else _HYSTERESIS
    if not beyond(value, track[EXPECTED], ratio, excess, share, both):
        return float(pass_inside(t_ms, track))
    kind = float(pass_outside(t_ms, value, calls, level, signal, state, track))
    return SUSPECTED if kind == 0.0 and signal == 0 and track[PHASE] == PENDING else kind
