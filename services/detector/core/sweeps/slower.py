"""Whether few calls are several times as slow as those before, each kind of them: a likelihood ratio.

A tool with calls of several kinds, such as hits and misses of a cache, may be four times as slow with hardly a call beyond what
its slow kind takes anyhow; ranks among all calls say little of it, the density of each kind much. Levels do not wander that far
by themselves. Pure; what a shift is besides is for `shifts`.
"""

from __future__ import annotations

import math
from typing import Final

from services.detector.core.kernels.shift import compare, slowed
from services.detector.core.sweeps.windows import LENIENT, Window

#: Most calls of which it is asked, for more are judged as well by their ranks; fewest before that tell what kinds there are.
MOST_CALLS: Final = 64.0
FEWEST_BEFORE: Final = 128.0
#: Times by which their middle must be higher, as a logarithm.
LEAST_MOVED: Final = math.log(2.0)
#: Variance of the level within hours, in normal scores, up to which levels do not wander so far that it matters here.
USUAL_WANDERING: Final = 0.1
#: How much surer than by ranks it must be, for the density is known roughly.
SURER: Final = 0.3


def how_sure(window: Window, moved: float, usual: float) -> float:
    """In deviations; 0 where it cannot be told. `moved`: by how much the calls' middle is higher; `usual`: by how much it is at
    this time of day anyhow, both as logarithms.
    """
    few, known = window.recent.sum() <= MOST_CALLS, window.before.sum() >= FEWEST_BEFORE
    if not (few and known) or moved - usual < LEAST_MOVED:
        return 0.0
    # Where calls resemble those before them more than a level that wanders explains, each of them says less.
    alike = max(window.wandering - USUAL_WANDERING, 0.0)
    by_chance = math.sqrt(1.0 + alike / (1.0 / window.recent.sum() + 1.0 / window.before.sum()))
    z = _deviations(slowed(window.recent, window.before)) / by_chance - SURER
    for other in window.others:
        by_other = max(compare(window.recent, other)[0], _deviations(slowed(window.recent, other)) / by_chance)
        z = min(z, by_other + LENIENT)
    return z * (1.0 - max(usual, 0.0) / moved)


def _deviations(likelier: float) -> float:
    """The deviation that is as sure as a logarithm of how much likelier something is (Wilks 1938)."""
    return math.sqrt(2.0 * max(likelier, 0.0))
