"""A tool that fails from its first calls on has no usual rate that could have risen: is it one that works at all?

All of its calls so far are weighed: how much likelier they are of a tool that fails half, four fifths or nearly all of the time
than of one that fails as often as a working tool ever may. Whatever that one's rate is, it reaches a ratio of M with a
probability of 1/M at most in all its calls (Ville 1939; Robbins 1970), so each tool is asked once, and nothing but its counts is
kept. While such an event is under way nothing is known of what is usual, by which it is told from others; what counts as usual
for its end is that highest rate. Works on the rows of `errors`.
"""

from __future__ import annotations

import math

from services.detector.core.kernels import error_mixture as at
from services.detector.core.kernels.compiled import compiled
from services.detector.core.kernels.error_events import MIN_FAILURES, STORED, WORKS, closing_cap
from services.detector.core.kernels.error_mixture import Row
from services.detector.core.kernels.judge import OPEN

_BROKEN = (0.5, 0.8, 0.95)
#: ln of 1/probability that a tool which works is taken for one that does not: of medium and of low, which is one false alarm of
#: each in a thousand calls, as `error_mixture` promises.
_NEEDED = (math.log(20.0), math.log(200.0))


@compiled("float64(float64, float64)", part=True)
def evidence(failures: float, calls: float) -> float:
    """ln of how much likelier so many failures among so many calls are of a tool that does not work."""
    most, total = 0.0, 0.0
    for k in range(len(_BROKEN)):
        q = _BROKEN[k]
        gain = failures * math.log(q / WORKS) + (calls - failures) * math.log((1.0 - q) / (1.0 - WORKS))
        if k == 0 or gain > most:
            total = total * math.exp(most - gain) + 1.0 if k > 0 else 1.0
            most = gain
        else:
            total += math.exp(gain - most)
    return most + math.log(total / len(_BROKEN))


@compiled("float64(float64)", part=True)
def level_of(strength: float) -> float:
    """The least sensitive level at which evidence suffices, 0 for none; such events are no mere suspicions."""
    if strength < _NEEDED[0]:
        return 0.0
    return float(STORED if strength < _NEEDED[1] else STORED + 1.0)


@compiled("boolean(float64, float64[:])", part=True)
def begin_if_broken(t: float, run: Row) -> bool:
    """Begin an event with the failure that was weighed last if all calls say that the tool does not work and none was part of an
    event before; whether it has begun. Its start is in START already.
    """
    # A row that was kept before first calls were noted has no START.
    if run[at.LEVEL] != 0.0 or run[at.START] == 0.0 or run[at.SEEN] != run[at.CLOCK] or run[at.FAILED] < MIN_FAILURES:
        return False
    strength = evidence(run[at.FAILED], run[at.SEEN])
    level = level_of(strength)
    if level == 0.0:
        return False
    run[at.PHASE] = OPEN
    run[at.LEVEL] = level
    run[at.LAST] = max(t, run[at.START])
    run[at.CALLS], run[at.FAILURES] = run[at.SEEN], run[at.FAILED]
    run[at.NOTED_CALLS], run[at.NOTED_FAILURES] = run[at.SEEN], run[at.FAILED]
    run[at.FAILED] = run[at.SEEN] = 0.0
    run[at.USUAL] = WORKS
    for k in range(at.RATES):
        run[at.MIXTURE + k] = 0.0
    run[at.QUIET] = run[at.ADOPTED] = run[at.NEXT_FAILED] = run[at.NEXT_SEEN] = 0.0
    run[at.CLOSING] = closing_cap(run)
    run[at.STRENGTH] = strength
    return True
