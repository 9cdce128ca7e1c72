"""The evidence in a series' failures that they have become more than is usual, and what is usual.

A Shiryaev–Roberts mixture over rates of 2, 4, 8, 16 and 32 times the usual one: R ← (1 + R)·LR a call, alarm when the mean R
passes A (Pollak 1985; Tartakovsky, Nikiforov, Basseville 2014, ch. 6). The usual rate is not known but learned: LR divides by
the predictive probability under a Beta prior and all calls so far, so that R − n is a martingale however little is known, and
the mean run to a false alarm is at least A calls without any caution added: a young tool is judged as surely as its past
allows. The prior is Jeffreys', which costs no rate more than half the logarithm of the calls (Krichevsky & Trofimov 1981).

ARL calls is the mean run to a false alarm of a tool with two calls a minute or fewer: at medium, a week of two a minute. A tool
with r calls a minute has A (r/2)² times as high: not merely as many false alarms an hour but, as the few calls more that it costs
are soon there, one in r/2 weeks. (At a thousand calls a second ln A is 30: seven failures more, or milliseconds.)
What is usual fades with a half-life of a week, a quiet tool's only as new calls take the place of old ones. Owns the row's
places; `errors` runs the test, `burn` keeps the windows of the row's end.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled

Row = NDArray[np.float64]

# The usual rate: failures and calls learned (fading), the rate that is taken for usual, and the count at which it is taken anew.
FAILED, SEEN, NEWEST, FADED_AT, USUAL, DUE = range(6)
MIXTURE: Final = 6  # five places
#: Two one-sided CUSUMs that say since when, of a small rise and of a large one: each its likelihood ratio (0 = none under way),
#: when it began, after which call, and the failures since.
SLOW, FAST = 11, 15
SINCE, FROM, FAILURES_SINCE = 1, 2, 3
#: Calls judged so far.
CLOCK: Final = 19
# The event under way.
START, CALLS, FAILURES = 20, 21, 22
PHASE, LAST, QUIET, LEVEL, STRENGTH, ADOPTED, CLOSING = 23, 24, 25, 26, 27, 28, 29
#: Calls and failures of the event up to its last failure.
NOTED_CALLS, NOTED_FAILURES = 30, 31
#: Failures and calls of five windows, fading; when they faded last; failures and calls since.
BURN: Final = 32  # ten places
AGED_AT, NEW_FAILED, NEW_SEEN = 42, 43, 44
#: Calls a minute, as they were last judged by.
PACE: Final = 45
#: Failures and calls of an event that may become what is usual.
NEXT_FAILED, NEXT_SEEN = 46, 47
SIZE: Final = 48

RATES: Final = 5
_TIMES = (2.0, 4.0, 8.0, 16.0, 32.0)
_PRIOR = 0.5
#: The margin: what fails more seldom is judged as if it failed so often. A rise to less than twice as often, which is the error
#: budget of `severity`, is no news, however sure. One good call in a thousand is as good as none.
LEAST: Final = 0.005
_ALWAYS = 0.999
#: No suspected rate is higher, except of a tool that fails more often still.
_MOST = 0.95
#: Mean calls to a false alarm at two calls a minute or fewer, by level: a week of them at medium.
ARL: Final = (2_000.0, 20_000.0, 200_000.0)
_LEVELS = 3
#: No less than `excess` ever is.
_MOST_EXCESS = 5.0
#: What of it is counted by level, as measured: the usual rate is an estimate, and an event lasts for a while.
_SURE = (0.8, 0.65, 0.55)
#: The usual rate is taken anew with every failure, and when this share more calls were seen.
_REFRESH_SHARE = 0.0625
_REFRESH_MOST = 1_024.0
_HALF_LIFE_MS = 7 * 86_400_000.0
#: Calls that do not fade: a quiet tool's past is all there is.
_KEPT = 2_000.0
_FADE_EVERY_MS = 600_000.0
#: Failures of an event that stay learned: two are no evidence. Else a tool that rarely fails would never be known to.
_LEFT = 2.0
HUGE: Final = 1e280


@compiled("float64(float64, int64)", part=True)
def suspected(usual: float, place: int) -> float:
    """A rate of the mixture: so many times the usual, never one that all calls reach."""
    return float(min(_TIMES[place] * usual, max(_MOST, 0.5 + 0.5 * usual)))


@compiled("void(float64, float64[:])", part=True)
def take_usual(t: float, run: Row) -> None:
    """Let what is known fade, and take the usual rate from it: its mean under the Beta posterior."""
    if run[FADED_AT] == 0.0:
        run[FADED_AT] = t
    age = t - run[FADED_AT]
    if age >= _FADE_EVERY_MS:
        if run[SEEN] > _KEPT:
            fade = max(0.5 ** (age / _HALF_LIFE_MS), _KEPT / run[SEEN])
            run[FAILED] *= fade
            run[SEEN] *= fade
        run[FADED_AT] = t
    run[USUAL] = min(max((run[FAILED] + _PRIOR) / (run[SEEN] + 2.0 * _PRIOR), LEAST), _ALWAYS)
    run[DUE] = run[SEEN] + min(_REFRESH_SHARE * run[SEEN], _REFRESH_MOST)


@compiled("void(float64, float64[:])", part=True)
def unlearn(t: float, run: Row) -> None:
    """Take back what was learned of an event's calls."""
    run[FAILED] = max(run[FAILED] - max(run[FAILURES] - _LEFT, 0.0), 0.0)
    run[SEEN] = max(run[SEEN] - run[CALLS], run[FAILED])
    take_usual(t, run)


@compiled("void(float64, float64[:])", part=True)
def adopt(t: float, run: Row) -> None:
    """What went on for so long is usual, and nothing else is known."""
    run[ADOPTED] = 1.0
    run[FAILED] = run[NEXT_FAILED]
    run[SEEN] = run[NEXT_SEEN]
    take_usual(t, run)


@compiled("float64(float64[:])", part=True)
def mean_of(run: Row) -> float:
    """The mean R."""
    mean = 0.0
    for k in range(RATES):
        mean += run[MIXTURE + k]
    return mean / RATES


@compiled("float64(float64)", part=True)
def excess(usual: float) -> float:
    """By how much R exceeds the limit that it passes, on average: a failure multiplies it by r, and where in that jump the limit
    lies is by chance uniform in ln R, which makes (r - 1)/ln r.
    """
    total = 0.0
    for k in range(RATES):
        ratio = suspected(usual, k) / usual
        total += (ratio - 1.0) / math.log(ratio) if ratio > 1.0 else 1.0
    return total / RATES


@compiled("float64(float64[:], float64)", part=True)
def level_reached(run: Row, rate: float) -> float:
    """The least sensitive level at which the evidence suffices, 0 for none. `rate`: calls a minute."""
    busy = max(1.0, 0.5 * rate)
    calls = mean_of(run) / (busy * busy)
    if calls < ARL[0] / _MOST_EXCESS:
        return 0.0
    calls *= excess(run[USUAL])
    for level in range(_LEVELS - 1, -1, -1):
        if calls * _SURE[level] >= ARL[level]:
            return level + 1.0
    return 0.0


@compiled("float64(float64[:])", part=True)
def strength(run: Row) -> float:
    """ln of the mean R."""
    return math.log(max(mean_of(run), 1.0))
