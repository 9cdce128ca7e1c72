"""The life of an event of failures: how it begins, when it is over, and since when.

An event is found by the luck of its first calls, so how long it lasted is asked of the lowest rate that it may well have: a CUSUM
of that rate against the usual one, which starts from a cap; the event lasted until it was last at the cap. It is over at zero;
or, since that rate falls with every call that does not fail, as soon as the calls since the cap are so much likelier usual ones
than more of the same (a likelihood ratio for a change back: the rates of both parts and of the whole are the likeliest ones), and
do not fail more than is usual themselves. An event is over too when its tool should have been called many times and was not.
Works on the rows of `errors` and `server_errors`.
"""

from __future__ import annotations

import math
from typing import Final

from services.detector.core.kernels import error_mixture as at
from services.detector.core.kernels.compiled import compiled
from services.detector.core.kernels.error_mixture import Row, strength
from services.detector.core.kernels.judge import CLOSED_QUIET, IDLE, OPEN

#: Level from which an event is stored, and not learned.
STORED: Final = 2.0
MIN_FAILURES: Final = 3.0
#: No tool that works fails more often: one that looks things up and often finds nothing, say.
WORKS: Final = 0.3
#: Evidence for an event's end, as a logarithm of likelihoods, before it is believed; with so many calls it begins to grow by the
#: logarithm of their number, for each is another chance to be mistaken. The CUSUM's cap, too.
_CLOSING_CAP = 4.0
_CLOSING_CALLS = 32.0
#: Likewise of an event that is not stored: soon forgotten, so that the next is another one.
_FAINT_CAP = 3.0
#: What the evidence for an end must have beyond the CUSUM's cap: every failure is another moment from which to reckon it.
_BEYOND = 2.0
#: Evidence, likewise, that the calls since fail more than is usual, from which on the event is not over.
_STILL = 2.0
_GAP_MS = 120_000.0
_GAP_CALLS = 5.0
#: Of a quiet tool, for which so long is but a few calls, fewer: the evidence must suffice all the same.
_GAP_CALLS_QUIET = 3.0
_GAP_QUIET_MS = 3_600_000.0
#: Calls that should have come since the last one; the time they take is no shorter than the first, no longer than the second.
_SILENT_CALLS = 20.0
_SILENCE_MS = (1_800_000.0, 86_400_000.0)


@compiled("float64(float64[:])", part=True)
def closing_cap(run: Row) -> float:
    """The height of the statistic that says whether an event is still going on."""
    if run[at.LEVEL] < STORED:
        return _FAINT_CAP
    return float(_CLOSING_CAP + math.log(1.0 + run[at.CALLS] / _CLOSING_CALLS))


@compiled("void(float64, float64[:], float64)", part=True)
def begin(t: float, run: Row, level: float) -> None:
    """An event begins with the call that was weighed last, at the level reached: since the change that is the likelier one."""
    enough = run[at.FAST + at.FAILURES_SINCE] >= MIN_FAILURES
    track = at.FAST if enough and run[at.FAST] > run[at.SLOW] else at.SLOW
    run[at.START] = run[track + at.SINCE]
    run[at.CALLS] = run[at.CLOCK] - run[track + at.FROM]
    run[at.FAILURES] = run[track + at.FAILURES_SINCE]
    run[at.PHASE] = OPEN
    run[at.LEVEL] = level
    run[at.LAST] = max(t, run[at.START])  # calls come in any order
    run[at.QUIET] = 0.0
    run[at.ADOPTED] = 0.0
    run[at.NEXT_FAILED] = 0.0
    run[at.NEXT_SEEN] = 0.0
    run[at.CLOSING] = closing_cap(run)
    run[at.STRENGTH] = strength(run)
    run[at.NOTED_CALLS] = run[at.CALLS]
    run[at.NOTED_FAILURES] = run[at.FAILURES]


@compiled("boolean(float64)", part=True)
def is_looked_at(failures: float) -> bool:
    """Whether an event that has gone on for so many failures is looked at once more: of 4, 5, 6, 7, 8, 10, 12, 14, 16, 20 …"""
    while failures >= 8.0 and failures % 2.0 == 0.0:
        failures *= 0.5
    return bool(4.0 <= failures < 8.0)


@compiled("void(float64[:])", part=True)
def end(run: Row) -> None:
    """The event is over: the mixture starts anew. The counts stay for the report."""
    run[at.PHASE] = IDLE
    for k in range(at.RATES):
        run[at.MIXTURE + k] = 0.0
    run[at.SLOW] = 0.0
    run[at.FAST] = 0.0
    run[at.DUE] = 0.0


@compiled("boolean(float64[:])")
def is_of_first(run: Row) -> bool:
    """Whether the event under way is one since a tool's first calls, which nothing was known before."""
    return bool(run[at.PHASE] == OPEN and run[at.SEEN] == 0.0 and run[at.USUAL] == WORKS)


@compiled("void(boolean, float64[:])", part=True)
def learn_first(works: bool, run: Row) -> None:
    """What is known of a tool after an event since its first calls: the calls since it works or, when it fell silent as it was,
    that it fails, so that it is not told anew every day.
    """
    run[at.FAILED] = run[at.FAILURES] - (run[at.NOTED_FAILURES] if works else 0.0)
    run[at.SEEN] = run[at.CALLS] - (run[at.NOTED_CALLS] if works else 0.0)


@compiled("float64(float64[:], float64)")
def end_if_silent(run: Row, t: float) -> float:
    """Close an event whose last call is long ago, by the tool's own pace: so long that many should have come. The happening's
    kind, or 0.
    """
    pace = _SILENT_CALLS * 60_000.0 / max(run[at.PACE], 1e-9)
    silence = min(max(pace, _SILENCE_MS[0]), _SILENCE_MS[1])
    if run[at.PHASE] == OPEN and t - run[at.NEWEST] >= silence:
        if is_of_first(run):
            learn_first(False, run)
        end(run)
        return CLOSED_QUIET
    return 0.0


@compiled("float64(float64, float64)", part=True)
def lower_rate(failures: float, calls: float) -> float:
    """The lowest rate of which so many failures among so many calls are an ordinary sample: Wilson's bound at two deviations."""
    n, p = max(calls, 1.0), failures / max(calls, 1.0)
    return float((p + 2.0 / n - 2.0 * math.sqrt(p * (1.0 - p) / n + 1.0 / (n * n))) / (1.0 + 4.0 / n))


@compiled("void(float64, boolean, float64[:])", part=True)
def watch_end(t: float, failed: bool, run: Row) -> None:
    """Move the statistic that says whether an event is still going on: at no less than the lowest rate that it may well have, for
    an event is found by the luck of its first calls.
    """
    usual = run[at.USUAL]
    rate = min(max(lower_rate(run[at.FAILURES], run[at.CALLS]), 2.0 * usual), max(0.9, 0.5 + 0.5 * usual))
    ratio = rate / usual if failed else (1.0 - rate) / (1.0 - usual)
    cap = closing_cap(run)
    run[at.CLOSING] = min(max(run[at.CLOSING] + math.log(ratio), 0.0), cap)
    run[at.QUIET] += 1.0
    if run[at.CLOSING] == cap:
        run[at.LAST] = max(run[at.LAST], t)
        run[at.QUIET] = 0.0
        run[at.NOTED_CALLS] = run[at.CALLS]
        run[at.NOTED_FAILURES] = run[at.FAILURES]


@compiled("float64(float64, float64, float64)", part=True)
def likelihood(failures: float, calls: float, rate: float) -> float:
    """The logarithm of how likely so many failures among so many calls are at a rate."""
    failing = failures * math.log(rate) if failures > 0.0 else 0.0
    return float(failing + (calls - failures) * math.log(1.0 - rate) if failures < calls else failing)


@compiled("float64(float64[:])", part=True)
def evidence_of_end(run: Row) -> float:
    """How much likelier the calls since an event was last sure to go on are usual ones than more of it, as a logarithm; 0 while
    they fail more than is usual.
    """
    usual = run[at.USUAL]
    calls, failures = run[at.CALLS] - run[at.NOTED_CALLS], run[at.FAILURES] - run[at.NOTED_FAILURES]
    if calls < 1.0:
        return 0.0
    as_usual = likelihood(failures, calls, usual)
    if failures > usual * calls and likelihood(failures, calls, failures / calls) - as_usual > _STILL:
        return 0.0
    # The last call that was noted failed, or it would not have been noted: it says nothing of the rate.
    sure, failed = max(run[at.NOTED_CALLS] - 1.0, 1.0), max(run[at.NOTED_FAILURES] - 1.0, 0.0)
    apart = likelihood(failed, sure, failed / sure) + as_usual
    return float(apart - likelihood(failed + failures, sure + calls, (failed + failures) / (sure + calls)))


@compiled("boolean(float64, float64[:])", part=True)
def is_over(t: float, run: Row) -> bool:
    """Whether the calls since say that the event has ended with its last failure but strays."""
    enough = _GAP_CALLS_QUIET if t - run[at.LAST] >= _GAP_QUIET_MS else _GAP_CALLS
    if run[at.QUIET] < enough or t - run[at.LAST] < _GAP_MS:
        return False
    return bool(run[at.CLOSING] == 0.0 or evidence_of_end(run) >= closing_cap(run) + _BEYOND)
