"""How closeness to what is usual becomes a chance: limits that are passed as often as their sensitivities say.

Not by a model of the values, which a heavy or quantised tail would belie: for each sensitivity a limit is *controlled*. It rises
with every passing and falls between them (adaptive conformal inference: Gibbs & Candès 2021, with events in the place of points),
whatever the distribution is. The limits of rare alarms stand on those of frequent ones: a month of nothing is not needed to learn
that a tail is light. Between limits, and beyond the last, the chance is interpolated on the logarithm of closeness.

What is close to what, `scorer` decides; SIZE places of its state, from `at` on, are the limits'.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled

Row = NDArray[np.float64]

#: Chance of an alarm a look, by sensitivity: one a month, week, day at a look a minute.
LIMITS: Final = {"low": 1.0 / 43_200.0, "medium": 1.0 / 10_080.0, "high": 1.0 / 1_440.0}
LEVELS: Final = 3
#: Places, three each, low to high sensitivity: ln of the limit, of low and medium how far it is above that of the more sensitive
#: one; and when it was last passed, s.
_PASSED = LEVELS
SIZE: Final = 2 * LEVELS
#: The place of the most sensitive limit, which is passed once a day.
DAILY: Final = LEVELS - 1

_RATES = (LIMITS["low"], LIMITS["medium"], LIMITS["high"])
#: Limits at first, the least and highest that each may be, and how much one rises when it is passed.
_FIRST_LIMITS = (0.45, 0.9, 0.18)
_GAIN = (0.3, 0.3, 0.2)
_LEAST_LIMIT = (0.02, 0.02, math.log(0.2))
_MOST_LIMIT = math.log(30.0)
#: Passings no further apart are one.
_APART_S = 3_600.0
#: A look is a minute at most.
_LOOK_S = 60.0
#: ln of the closeness up to which the chance is 1.
_UNUSUAL_ENOUGH = -2.0


@compiled("void(int64, float64[:])", part=True)
def begin(at: int, state: Row) -> None:
    """The limits of a series of which nothing is known."""
    for level in range(LEVELS):
        state[at + level] = _FIRST_LIMITS[level]
        state[at + _PASSED + level] = -math.inf


@compiled("float64(float64, float64, float64, int64, float64[:])", part=True)
def chance_of(closeness: float, t_s: float, step_s: float, at: int, state: Row) -> float:
    """Compare with the limits of the sensitivities, and move them; the chance of such a closeness a look."""
    looks = min(1.0, step_s / _LOOK_S)
    distance = math.log(max(closeness, 1e-3))
    p, above, chance = 0.0, 0.0, 0.0
    for level in range(LEVELS - 1, -1, -1):
        limit, rate = above + state[at + level], _RATES[level]
        if p == 0.0 and distance < limit:
            if level == LEVELS - 1:
                p = rate ** max(0.0, (distance - _UNUSUAL_ENOUGH) / (limit - _UNUSUAL_ENOUGH))
            else:
                p = chance * (rate / chance) ** ((distance - above) / (limit - above))
        above, chance = limit, rate
        if distance >= limit:
            if t_s - state[at + _PASSED + level] >= _APART_S:
                state[at + level] = min(state[at + level] + _GAIN[level], _MOST_LIMIT)
            state[at + _PASSED + level] = t_s
        else:
            state[at + level] = max(state[at + level] - _GAIN[level] * rate * looks, _LEAST_LIMIT[level])
    if p == 0.0:
        p = chance * math.exp(-2.0 * (distance - above))
    return min(max(p, 1e-12), 1.0)
