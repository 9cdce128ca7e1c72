"""Judge the failures of a server's tools together: little in each of them may be much in all.

The evidence is `error_mixture`'s, with each call weighed against the usual rate of its own tool, as it was before the batch; so
nothing is learned here, and the mean run to a false alarm is the same, in calls of the server. Calls of a tool that has an event
of its own are left out unless the server has one already. Knows no names; `servers` decides whether what is found is an event,
and looks after the rest.

`rows` f64[servers, SIZE] is all that is kept: `error_mixture`'s places, of which FAILED and SEEN are the failures to be
expected and the calls of the event under way, and four more.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels import error_mixture as at
from services.detector.core.kernels.burn import AGE_EVERY_MS, FADES_MS, FIVE_MINUTES, MIN_CALLS, age_windows
from services.detector.core.kernels.compiled import compiled
from services.detector.core.kernels.error_events import MIN_FAILURES, begin, end, end_if_silent, is_over, watch_end
from services.detector.core.kernels.error_mixture import Row, level_reached, strength, suspected
from services.detector.core.kernels.judge import CLOSED_INSIDE, IDLE, OPEN, OPENED

#: Failures to be expected of all calls so far, and when each CUSUM began.
EXPECTED: Final = at.SIZE
_SLOW_EXPECTED, _FAST_EXPECTED = EXPECTED + 1, EXPECTED + 2
#: Since when the evidence suffices, 0 if it does not.
ENOUGH_SINCE: Final = EXPECTED + 3
SIZE: Final = EXPECTED + 4
#: A happening is its server's row, its kind and that row at that moment.
HAPPENING: Final = SIZE + 2
#: The evidence has sufficed for long: is it an event?
ASKED: Final = 5.0

#: So long an event waits for a tool's own test to explain it.
PATIENCE_MS: Final = 60_000.0
_LATE_MS = 900_000.0
#: A fainter one of a server is none: what its tools show is enough for those who want to hear of everything.
_LEAST_LEVEL = 2.0
#: What a tool never heard of is taken for: Jeffreys' prior says nothing.
_UNKNOWN = 0.5
_SLOW_PLACE, _FAST_PLACE = 1, 4


@compiled("float64(float64[:])", part=True)
def pace_of(row: Row) -> float:
    """Calls a minute over the last few, beyond those that the window holds in any case."""
    calls = row[at.BURN + 2 * FIVE_MINUTES + 1] + row[at.NEW_SEEN] - MIN_CALLS[FIVE_MINUTES]
    return float(max(calls, 0.0) * 60_000.0 / FADES_MS[FIVE_MINUTES])


@compiled("void(float64, float64, float64[:])", part=True)
def fail(t: float, usual: float, row: Row) -> None:
    """Weigh a failure while nothing is under way."""
    row[at.LAST] = t
    for k in range(at.RATES):
        row[at.MIXTURE + k] = min((1.0 + row[at.MIXTURE + k]) * (suspected(usual, k) / usual), at.HUGE)
    for track, place, expected in ((at.SLOW, _SLOW_PLACE, _SLOW_EXPECTED), (at.FAST, _FAST_PLACE, _FAST_EXPECTED)):
        if row[track] == 0.0:
            row[track] = 1.0
            row[track + at.SINCE] = t
            row[track + at.FROM] = row[at.CLOCK] - 1.0
            row[track + at.FAILURES_SINCE] = 0.0
            row[expected] = row[EXPECTED] - usual
        row[track] = min(row[track] * (suspected(usual, place) / usual), at.HUGE)
        row[track + at.FAILURES_SINCE] += 1.0


@compiled("boolean(float64, float64, float64[:])", part=True)
def is_asked(t: float, usual: float, row: Row) -> bool:
    """Whether the failure that was weighed last makes it time to ask."""
    row[at.USUAL] = usual
    row[at.PACE] = pace_of(row)
    if row[at.SLOW + at.FAILURES_SINCE] < MIN_FAILURES or level_reached(row, row[at.PACE]) < _LEAST_LEVEL:
        row[ENOUGH_SINCE] = 0.0
        return False
    if row[ENOUGH_SINCE] == 0.0:
        row[ENOUGH_SINCE] = t
    return bool(t - row[ENOUGH_SINCE] >= PATIENCE_MS)


@compiled("boolean(float64[:])")
def open_event(row: Row) -> bool:
    """Begin an event with what was weighed so far, if it suffices still; whether it did."""
    level = level_reached(row, row[at.PACE])
    if row[at.PHASE] != IDLE or level < _LEAST_LEVEL:
        return False
    begin(row[at.LAST], row, level)
    row[at.FAILED] = row[EXPECTED] - (
        row[_FAST_EXPECTED] if row[at.START] == row[at.FAST + at.SINCE] else row[_SLOW_EXPECTED]
    )
    row[at.SEEN] = row[at.CALLS]
    row[at.USUAL] = row[at.FAILED] / max(row[at.SEEN], 1.0)
    row[ENOUGH_SINCE] = 0.0
    return True


@compiled("void(float64[:])")
def explained(row: Row) -> None:
    """A tool's own event says it all: begin anew."""
    if row[at.PHASE] == IDLE:
        end(row)
        row[ENOUGH_SINCE] = 0.0


@compiled("float64(float64, float64, boolean, float64[:])", part=True)
def judge_open(t: float, usual: float, failed: bool, row: Row) -> float:
    """One call of an event under way: OPENED when it rose a level, how it closed, or 0."""
    for k in range(at.RATES):
        suspect = suspected(usual, k)
        ratio = suspect / usual if failed else (1.0 - suspect) / (1.0 - usual)
        row[at.MIXTURE + k] = min((1.0 + row[at.MIXTURE + k]) * ratio, at.HUGE)
    row[at.FAILED] += usual
    row[at.SEEN] += 1.0
    row[at.CALLS] += 1.0
    row[at.USUAL] = row[at.FAILED] / row[at.SEEN]
    if failed:
        row[at.FAILURES] += 1.0
    row[at.STRENGTH] = max(row[at.STRENGTH], strength(row))
    watch_end(t, failed, row)
    level = level_reached(row, row[at.PACE]) if failed else 0.0
    if level > row[at.LEVEL]:
        row[at.LEVEL] = level
        return OPENED
    if is_over(t, row):
        end(row)
        return CLOSED_INSIDE
    return 0.0


@compiled(
    "UniTuple(int64, 2)(uint32[::1], int64[::1], uint8[::1], int64[::1], float64[::1], uint8[::1], float64[:, ::1],"
    " float64[:, ::1], int64)"
)
def judge_servers(  # noqa: C901, PLR0912 - one loop over calls in order of arrival
    codes: NDArray[np.uint32],
    ts: NDArray[np.int64],
    ok: NDArray[np.uint8],
    place: NDArray[np.int64],
    rates: NDArray[np.float64],
    busy: NDArray[np.uint8],
    rows: NDArray[np.float64],
    out: NDArray[np.float64],
    start: int,
) -> tuple[int, int]:
    """Judge calls from row `start` on, in order of arrival, until there is something to ask: (happenings in `out` f64[≥ 2,
    HAPPENING], next row). By code: `place` is the row of its server, −1 for none; `rates` its usual rate, 0 if not known; `busy`
    whether it has an event of its own.
    """
    fine = np.empty((len(rates), at.RATES))
    usual = np.empty(len(rates))
    for code in range(len(rates)):
        usual[code] = rates[code] if rates[code] > 0.0 else _UNKNOWN
        for k in range(at.RATES):
            fine[code, k] = (1.0 - suspected(usual[code], k)) / (1.0 - usual[code])
    found = 0
    following = start
    while following < len(ts) and found + 2 <= out.shape[0]:
        code, t, failed = codes[following], float(ts[following]), ok[following] == 0
        following += 1
        if place[code] < 0:
            continue
        row = rows[place[code]]
        if t < row[at.NEWEST] - _LATE_MS or (busy[code] and row[at.PHASE] == IDLE):
            continue
        kind = end_if_silent(row, t) if row[at.PHASE] == OPEN else 0.0
        row[at.NEWEST] = max(row[at.NEWEST], t)
        if t >= row[at.AGED_AT] + AGE_EVERY_MS:
            age_windows(t, row)
        row[at.CLOCK] += 1.0
        row[EXPECTED] += usual[code]
        row[at.NEW_SEEN] += 1.0
        if failed:
            row[at.NEW_FAILED] += 1.0
        if row[at.PHASE] == OPEN:
            kind = judge_open(t, usual[code], failed, row)
        elif failed:
            fail(t, usual[code], row)
            if kind == 0.0 and is_asked(t, usual[code], row):
                kind = ASKED
        else:
            for k in range(at.RATES):
                row[at.MIXTURE + k] = (1.0 + row[at.MIXTURE + k]) * fine[code, k]
            row[at.SLOW] *= fine[code, _SLOW_PLACE]
            row[at.FAST] *= fine[code, _FAST_PLACE]
            if row[at.SLOW] < 1.0:
                row[at.SLOW] = 0.0
            if row[at.FAST] < 1.0:
                row[at.FAST] = 0.0
        if kind > 0.0:
            out[found, 0] = place[code]
            out[found, 1] = kind
            for i in range(SIZE):
                out[found, 2 + i] = row[i]
            found += 1
            if kind == ASKED:
                break
    return found, following
