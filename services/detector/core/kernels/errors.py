"""Judge a series' failures by a sequential test against its own rate.

A Shiryaev–Roberts mixture over rates of 2, 4, 8, 16 and 32 times the usual one: R ← (1 + R)·LR a call, alarm when the mean R
passes A; the mean run to a false alarm is at least A calls when the usual rate is known (Pollak 1985; Tartakovsky, Nikiforov,
Basseville 2014, ch. 6). The usual rate carries a prior of one failure in a hundred calls, and calls are learned in blocks,
which wait while suspicion is up and are dropped when it proves right. A grows with the call rate: false alarms are counted
an hour, not a call.

`run` f64[SIZE] is all that is kept.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled
from services.detector.core.kernels.judge import CLOSED_ADOPTED, CLOSED_INSIDE, CLOSED_QUIET, IDLE, OPEN, OPENED

Row = NDArray[np.float64]

# The usual rate, the block not learned yet, the mixture.
FAILED, SEEN, BLOCK_FAILED, BLOCK_SEEN, NEWEST, FADED_AT = range(6)
MIXTURE: Final = 6  # five places
USUAL: Final = 11
# The episode: since the one-sided CUSUM last stood at zero.
CUSUM, START, CALLS, FAILURES, STREAK = 12, 13, 14, 15, 16
# The event under way.
PHASE, LAST, QUIET, LEVEL, STRENGTH, ADOPTED, CLOSING = 17, 18, 19, 20, 21, 22, 23
#: Calls and failures of the event up to its last failure.
NOTED_CALLS, NOTED_FAILURES = 24, 25
SIZE: Final = 28
HAPPENING: Final = SIZE + 1

_RATES = 5
_PRIOR_FAILED = 1.0
_PRIOR_SEEN = 100.0
#: Standard deviations added to the estimate of the usual rate.
_CAUTION = 1.5
_BLOCK = 32.0
#: Mean calls to a false alarm at two calls a minute or fewer, by level.
_ARL = (2_000.0, 20_000.0, 200_000.0)
_LEVELS = 3
_MIN_FAILURES = 5.0
#: Fewer failures suffice when every call fails.
_MIN_STREAK = 3.0
_MOST = 0.95
#: CUSUM at which calls are no longer learned: more than one recent failure.
_SUSPICION = 2.5
_CLOSING_CAP = 4.0
_GAP_MS = 120_000.0
_GAP_CALLS = 10.0
_QUIET_MS = 1_800_000.0
_LATE_MS = 900_000.0
_ADOPT_MS = 3_600_000.0
_HALF_LIFE_MS = 86_400_000.0
_FADE_EVERY_MS = 600_000.0
_HUGE = 1e280


@compiled("float64(float64, float64, boolean)", part=True)
def ratio_of(rate: float, usual: float, failed: bool) -> float:
    """Likelihood ratio of one call: failing at `rate` against failing at `usual`."""
    return float(rate / usual) if failed else float((1.0 - rate) / (1.0 - usual))


@compiled("void(float64, float64[:])", part=True)
def learn_block(t: float, run: Row) -> None:
    """Add the block to what is usual, letting what was known before fade."""
    if run[FADED_AT] == 0.0:
        run[FADED_AT] = t
    age = t - run[FADED_AT]
    if age >= _FADE_EVERY_MS:
        fade = 0.5 ** (age / _HALF_LIFE_MS)
        run[FAILED] *= fade
        run[SEEN] *= fade
        run[FADED_AT] = t
    run[FAILED] += run[BLOCK_FAILED]
    run[SEEN] += run[BLOCK_SEEN]
    run[BLOCK_FAILED] = 0.0
    run[BLOCK_SEEN] = 0.0


@compiled("float64(float64[:])", part=True)
def usual_rate(run: Row) -> float:
    """The failure rate of the series when nothing is wrong, estimated with caution: an early run of luck must not make the
    ordinary rate look like an outbreak.
    """
    failed = run[FAILED] + _PRIOR_FAILED
    rate = (failed + _CAUTION * math.sqrt(failed)) / (run[SEEN] + _PRIOR_SEEN)
    return float(min(max(rate, 1e-4), 0.5))


@compiled("float64(float64[:], float64)", part=True)
def level_reached(run: Row, rate: float) -> float:
    """The least sensitive level at which the evidence suffices, 0 for none. `rate`: calls a minute."""
    always = run[STREAK] == run[CALLS] and run[STREAK] >= _MIN_STREAK
    if run[FAILURES] < _MIN_FAILURES and not always:
        return 0.0
    mean = 0.0
    for k in range(_RATES):
        mean += run[MIXTURE + k] / _RATES
    for level in range(_LEVELS - 1, -1, -1):
        if mean >= _ARL[level] * max(1.0, rate / 2.0):
            return level + 1.0
    return 0.0


@compiled("void(boolean, float64[:])", part=True)
def weigh(failed: bool, run: Row) -> None:
    """Move mixture and episode by one call of an event."""
    usual = run[USUAL]
    times = 2.0
    for k in range(_RATES):
        rate = min(times * usual, _MOST)
        run[MIXTURE + k] = min((1.0 + run[MIXTURE + k]) * ratio_of(rate, usual, failed), _HUGE)
        times *= 2.0
    rate = min(8.0 * usual, _MOST)
    moved = run[CUSUM] + math.log(ratio_of(rate, usual, failed))
    # The counts of an event last as long as it does.
    run[CUSUM] = min(max(moved, 1e-9), 700.0)
    run[CALLS] += 1.0
    run[STREAK] = run[STREAK] + 1.0 if failed else 0.0
    if failed:
        run[FAILURES] += 1.0


@compiled("float64(float64[:])", part=True)
def strength(run: Row) -> float:
    """ln of the mean R."""
    mean = 0.0
    for k in range(_RATES):
        mean += run[MIXTURE + k] / _RATES
    return math.log(max(mean, 1.0))


@compiled("void(float64, boolean, float64[:])", part=True)
def watch_end(t: float, failed: bool, run: Row) -> None:
    """Move the statistic that says whether an event is still going on."""
    usual = run[USUAL]
    rate = min(max((run[FAILURES] + 0.5) / (run[CALLS] + 1.0), 2.0 * usual), 0.9)
    if failed and run[CLOSING] > 0.0:
        run[LAST] = max(run[LAST], t)
        run[QUIET] = 0.0
        run[NOTED_CALLS] = run[CALLS]
        run[NOTED_FAILURES] = run[FAILURES]
    else:
        run[QUIET] += 1.0
    if usual < rate:
        moved = run[CLOSING] + math.log(ratio_of(rate, usual, failed))
        run[CLOSING] = min(max(moved, 0.0), _CLOSING_CAP)


@compiled("void(float64[:])", part=True)
def end(run: Row) -> None:
    """The event is over: the mixture starts anew. The episode's counts stay for the report and go with the next call."""
    run[PHASE] = IDLE
    for k in range(_RATES):
        run[MIXTURE + k] = 0.0
    run[CUSUM] = 0.0
    if run[ADOPTED] == 0.0:
        run[BLOCK_FAILED] = 0.0
        run[BLOCK_SEEN] = 0.0


@compiled("float64(float64[:], float64)")
def end_if_silent(run: Row, t: float) -> float:
    """Close an event that nothing was heard of for long; the happening's kind, or 0."""
    if run[PHASE] == OPEN and t - run[LAST] >= _QUIET_MS:
        end(run)
        return CLOSED_QUIET
    return 0.0


@compiled("boolean(float64, float64[:], float64)", part=True)
def opens(t: float, run: Row, rate: float) -> bool:
    """Whether an event begins with the call that was weighed last; if not, it is learned in time."""
    level = level_reached(run, rate)
    if level == 0.0:
        if run[BLOCK_SEEN] >= _BLOCK and run[CUSUM] < _SUSPICION:
            learn_block(t, run)
        return False
    run[PHASE] = OPEN
    run[LEVEL] = level
    run[LAST] = t
    run[QUIET] = 0.0
    run[ADOPTED] = 0.0
    run[CLOSING] = _CLOSING_CAP
    run[STRENGTH] = strength(run)
    run[NOTED_CALLS] = run[CALLS]
    run[NOTED_FAILURES] = run[FAILURES]
    return True


@compiled("int64(int64[::1], uint8[::1], float64[::1], float64, int64)")
def judge_idle(  # noqa: C901 - one loop in registers; `twins_sequential` says it in parts
    ts: NDArray[np.int64], ok: NDArray[np.uint8], run: Row, rate: float, start: int
) -> int:
    """Judge calls from row `start` on until an event opens; the row after the call that opened it. The ratios are taken once for
    as long as the usual rate is the same: it is when nothing was learned, and during an episode.
    """
    fails, fine = np.empty(_RATES), np.empty(_RATES)
    following = start
    while following < len(ts):
        relearned = run[CUSUM] > 0.0
        if not relearned:
            run[USUAL] = usual_rate(run)
        usual, times = run[USUAL], 2.0
        for k in range(_RATES):
            fails[k] = ratio_of(min(times * usual, _MOST), usual, True)
            fine[k] = ratio_of(min(times * usual, _MOST), usual, False)
            times *= 2.0
        rate_of_episode = min(8.0 * usual, _MOST)
        up, down = math.log(ratio_of(rate_of_episode, usual, True)), math.log(ratio_of(rate_of_episode, usual, False))
        cusum, calls, failures, streak = run[CUSUM], run[CALLS], run[FAILURES], run[STREAK]
        if cusum == 0.0:
            calls, failures, streak, run[START] = 0.0, 0.0, 0.0, 0.0
        seen, failed_in_block, newest = run[BLOCK_SEEN], run[BLOCK_FAILED], run[NEWEST]
        t, looks = 0.0, False
        while following < len(ts) and not looks:
            t = float(ts[following])
            failed = ok[following] == 0
            following += 1
            if t < newest - _LATE_MS:
                continue
            newest = max(newest, t)
            for k in range(_RATES):
                run[MIXTURE + k] = min((1.0 + run[MIXTURE + k]) * (fails[k] if failed else fine[k]), _HUGE)
            moved = cusum + (up if failed else down)
            seen += 1.0
            if failed:
                failed_in_block += 1.0
            if moved <= 0.0:
                cusum, calls, failures, streak, run[START] = 0.0, 0.0, 0.0, 0.0, 0.0
                looks = relearned
            else:
                if cusum == 0.0:
                    run[START] = t
                cusum = min(max(moved, 1e-9), 700.0)
                calls += 1.0
                streak = streak + 1.0 if failed else 0.0
                if failed:
                    failures += 1.0
                looks = failures >= _MIN_FAILURES or (streak == calls and streak >= _MIN_STREAK)
            looks = looks or (seen >= _BLOCK and cusum < _SUSPICION)
        run[CUSUM], run[CALLS], run[FAILURES], run[STREAK] = cusum, calls, failures, streak
        run[BLOCK_SEEN], run[BLOCK_FAILED], run[NEWEST] = seen, failed_in_block, newest
        if looks and opens(t, run, rate):
            break
    return following


@compiled("float64(float64, boolean, float64[:], float64)", part=True)
def judge_open(t: float, failed: bool, run: Row, rate: float) -> float:
    """One call of an event under way: OPENED when it rose a level, how it closed, or 0."""
    weigh(failed, run)
    run[STRENGTH] = max(run[STRENGTH], strength(run))
    if t - run[START] >= _ADOPT_MS:
        run[ADOPTED] = 1.0
        run[BLOCK_SEEN] += 1.0
        run[BLOCK_FAILED] += 1.0 if failed else 0.0
        if run[BLOCK_SEEN] >= _BLOCK:
            learn_block(t, run)
            run[USUAL] = usual_rate(run)
    watch_end(t, failed, run)
    level = level_reached(run, rate)
    if level > run[LEVEL]:
        run[LEVEL] = level
        return OPENED
    if run[QUIET] >= _GAP_CALLS and t - run[LAST] >= _GAP_MS:
        kind = CLOSED_ADOPTED if run[ADOPTED] > 0.0 else CLOSED_INSIDE
        end(run)
        return kind
    return 0.0


@compiled("UniTuple(int64, 2)(int64[::1], uint8[::1], float64[::1], float64, float64[:, :], int64)")
def judge_failures(
    ts: NDArray[np.int64], ok: NDArray[np.uint8], run: Row, rate: float, out: NDArray[np.float64], start: int
) -> tuple[int, int]:
    """Judge the calls from row `start` on, as `judge.judge` does: (happenings in `out` f64[≥ 2, ≥ HAPPENING], next row)."""
    found = 0
    following = start
    while following < len(ts):
        if found + 2 > out.shape[0]:
            break
        kind = 0.0
        if run[PHASE] == IDLE:
            following = judge_idle(ts, ok, run, rate, following)
            kind = OPENED if run[PHASE] == OPEN else 0.0
        else:
            t = float(ts[following])
            if t < run[NEWEST] - _LATE_MS:
                following += 1
                continue
            run[NEWEST] = max(run[NEWEST], t)
            kind = end_if_silent(run, t)
            if kind == 0.0:
                kind = judge_open(t, ok[following] == 0, run, rate)
                following += 1
        if kind > 0.0:
            out[found, 0] = kind
            for i in range(SIZE):
                out[found, 1 + i] = run[i]
            found += 1
    return found, following
