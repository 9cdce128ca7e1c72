"""Judge a series' failures: a sequential test against its own usual rate, and the life of the event that it finds.

The evidence is `error_mixture`'s. An alarm needs three failures and comes with a call that failed. Calls are learned as they
come, those of an event too until it is stored: then they are taken back. Only when it has gone on for a day are 200 calls more
learned, in place of what was known: the new normal. A tool that fails from its first calls on has no usual rate; `first_calls`
says whether that is an event. An event is over when a CUSUM of its own rate against the usual one says so,
and lasted until that was last at its height; or when its tool should have been called many times and was not.

`run` f64[SIZE] is all that is kept; `error_mixture` names its places.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels import error_mixture as at
from services.detector.core.kernels.burn import AGE_EVERY_MS, age_windows
from services.detector.core.kernels.compiled import compiled
from services.detector.core.kernels.error_events import (
    MIN_FAILURES,
    STORED,
    begin,
    closing_cap,
    end,
    end_if_silent,
    is_looked_at,
    is_of_first,
    is_over,
    learn_first,
    watch_end,
)
from services.detector.core.kernels.error_mixture import (
    Row,
    adopt,
    level_reached,
    strength,
    suspected,
    take_usual,
    unlearn,
)
from services.detector.core.kernels.first_calls import (
    begin_if_broken,
    evidence,
    level_of,
)
from services.detector.core.kernels.judge import CLOSED_ADOPTED, CLOSED_INSIDE, IDLE, OPEN, OPENED

#: Length of a row.
SIZE: Final = at.SIZE
#: A happening is its kind and the row at that moment.
HAPPENING: Final = SIZE + 1
#: Places in the mixture of the rates that the CUSUMs listen for.
_SLOW_PLACE, _FAST_PLACE = 1, 4
_LATE_MS = 900_000.0
#: An event this old may be the new normal, and is after so many calls more.
_ADOPT_MS = 86_400_000.0
_ADOPT_CALLS = 200.0


@compiled("void(float64, float64[:])", part=True)
def fail(t: float, run: Row) -> None:
    """Weigh and learn a failure while nothing is under way; the call is in CLOCK already."""
    usual = run[at.USUAL]
    for k in range(at.RATES):
        run[at.MIXTURE + k] = min((1.0 + run[at.MIXTURE + k]) * (suspected(usual, k) / usual), at.HUGE)
    for track, place in ((at.SLOW, _SLOW_PLACE), (at.FAST, _FAST_PLACE)):
        if run[track] == 0.0:
            run[track] = 1.0
            run[track + at.SINCE] = t
            run[track + at.FROM] = run[at.CLOCK] - 1.0
            run[track + at.FAILURES_SINCE] = 0.0
        run[track] = min(run[track] * (suspected(usual, place) / usual), at.HUGE)
        run[track + at.FAILURES_SINCE] += 1.0
    run[at.FAILED] += 1.0
    run[at.SEEN] += 1.0
    run[at.NEW_FAILED] += 1.0
    run[at.DUE] = 0.0


@compiled("int64(int64[::1], uint8[::1], float64[::1], float64, int64)")
def judge_idle(  # noqa: C901, PLR0912 - one loop in registers; `twins_failures` says it in parts
    ts: NDArray[np.int64], ok: NDArray[np.uint8], run: Row, rate: float, start: int
) -> int:
    """Judge calls from row `start` on until an event opens; the row after the call that opened it. The ratios are the same for as
    long as the usual rate is.
    """
    fine, r = np.empty(at.RATES), np.empty(at.RATES)
    following = start
    while following < len(ts):
        t = float(ts[following])
        if t < run[at.NEWEST] - _LATE_MS:
            following += 1
            continue
        if run[at.SEEN] >= run[at.DUE]:
            take_usual(max(t, run[at.NEWEST]), run)
        if run[at.CLOCK] == 0.0:
            run[at.START] = t
        usual = run[at.USUAL]
        good = 1.0 / (1.0 - usual)
        for k in range(at.RATES):
            fine[k] = (1.0 - suspected(usual, k)) * good
            r[k] = run[at.MIXTURE + k]
        slow_fine, fast_fine = fine[_SLOW_PLACE], fine[_FAST_PLACE]
        slow, fast, seen, clock, newest = run[at.SLOW], run[at.FAST], run[at.SEEN], run[at.CLOCK], run[at.NEWEST]
        due, aged, before = run[at.DUE], run[at.AGED_AT] + AGE_EVERY_MS, run[at.CLOCK]
        failed = False
        while following < len(ts):
            t = float(ts[following])
            if t < newest - _LATE_MS:
                following += 1
                continue
            if t >= aged:
                run[at.NEW_SEEN] += clock - before
                before = clock
                age_windows(t, run)
                aged = t + AGE_EVERY_MS
            newest = max(newest, t)
            following += 1
            clock += 1.0
            if ok[following - 1] == 0:
                failed = True
                break
            for k in range(at.RATES):
                r[k] = (1.0 + r[k]) * fine[k]
            slow *= slow_fine
            fast *= fast_fine
            if slow < 1.0:
                slow = 0.0
            if fast < 1.0:
                fast = 0.0
            seen += 1.0
            if seen >= due:
                break
        for k in range(at.RATES):
            run[at.MIXTURE + k] = r[k]
        run[at.SLOW], run[at.FAST], run[at.SEEN], run[at.CLOCK], run[at.NEWEST] = slow, fast, seen, clock, newest
        run[at.NEW_SEEN] += clock - before
        if failed:
            fail(t, run)
            if begin_if_broken(t, run):
                break
            if run[at.SLOW + at.FAILURES_SINCE] >= MIN_FAILURES:
                level = level_reached(run, rate)
                if level > 0.0:
                    begin(t, run, level)
                    if level >= STORED:
                        unlearn(run[at.NEWEST], run)
                    break
    return following


@compiled("float64(float64, boolean, float64[:], float64)", part=True)
def judge_open(t: float, failed: bool, run: Row, rate: float) -> float:
    """One call of an event under way: OPENED when it rose a level or is to be looked at, how it closed, or 0."""
    usual = run[at.USUAL]
    good = 1.0 / (1.0 - usual)
    for k in range(at.RATES):
        suspect = suspected(usual, k)
        ratio = suspect / usual if failed else (1.0 - suspect) * good
        run[at.MIXTURE + k] = min((1.0 + run[at.MIXTURE + k]) * ratio, at.HUGE)
    run[at.CLOCK] += 1.0
    run[at.CALLS] += 1.0
    run[at.NEW_SEEN] += 1.0
    if failed:
        run[at.FAILURES] += 1.0
        run[at.NEW_FAILED] += 1.0
    first = is_of_first(run)
    run[at.STRENGTH] = max(run[at.STRENGTH], evidence(run[at.FAILURES], run[at.CALLS]) if first else strength(run))
    if run[at.LEVEL] < STORED:
        run[at.SEEN] += 1.0
        run[at.FAILED] += 1.0 if failed else 0.0
        take_usual(run[at.NEWEST], run)
    elif t - run[at.START] >= _ADOPT_MS:
        run[at.NEXT_SEEN] += 1.0
        run[at.NEXT_FAILED] += 1.0 if failed else 0.0
    watch_end(t, failed, run)
    level = 0.0
    if failed:
        level = level_of(run[at.STRENGTH]) if first else level_reached(run, rate)
    if level > run[at.LEVEL]:
        if run[at.LEVEL] < STORED <= level:
            unlearn(run[at.NEWEST], run)
        run[at.LEVEL] = level
        run[at.CLOSING] = closing_cap(run)
        return OPENED
    if is_over(t, run):
        if first:
            learn_first(True, run)
        end(run)
        return CLOSED_INSIDE
    if run[at.NEXT_SEEN] >= _ADOPT_CALLS:
        adopt(run[at.NEWEST], run)
        end(run)
        return CLOSED_ADOPTED
    if failed and run[at.LEVEL] >= STORED and is_looked_at(run[at.FAILURES]):
        return OPENED
    return 0.0


@compiled("UniTuple(int64, 2)(int64[::1], uint8[::1], float64[::1], float64, float64[:, :], int64)")
def judge_failures(
    ts: NDArray[np.int64], ok: NDArray[np.uint8], run: Row, rate: float, out: NDArray[np.float64], start: int
) -> tuple[int, int]:
    """Judge the calls from row `start` on, as `judge.judge` does: (happenings in `out` f64[>= 2, >= HAPPENING], next row)."""
    found = 0
    following = start
    run[at.PACE] = rate
    while following < len(ts):
        if found + 2 > out.shape[0]:
            break
        kind = 0.0
        if run[at.PHASE] == IDLE:
            following = judge_idle(ts, ok, run, rate, following)
            kind = OPENED if run[at.PHASE] == OPEN else 0.0
        else:
            t = float(ts[following])
            if t < run[at.NEWEST] - _LATE_MS:
                following += 1
                continue
            kind = end_if_silent(run, t)
            if kind == 0.0:
                run[at.NEWEST] = max(run[at.NEWEST], t)
                if t >= run[at.AGED_AT] + AGE_EVERY_MS:
                    age_windows(t, run)
                kind = judge_open(t, ok[following] == 0, run, rate)
                following += 1
        if kind > 0.0:
            out[found, 0] = kind
            for i in range(SIZE):
                out[found, 1 + i] = run[i]
            found += 1
    return found, following
