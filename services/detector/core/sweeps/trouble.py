"""Which of a tool's past calls were of trouble that is over: they tell nothing of what is usual.

A tool that is called ten times a day and slow every other day is else known by its troubles as much as by itself. Trouble is a
stretch of calls above the others, as sure as an alarm, that went back within a day and a half: what stays longer has become
usual. Sequential likelihood ratios of a raised mean, over normal scores (Page 1954). Pure; whether anything was told of it is
not asked, so that a past looks the same whoever watched it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.shift import mark_raised, standings
from services.detector.core.state.series import HOUR_MS

#: What stays longer is usual.
LONGEST_MS: Final = 36 * HOUR_MS
#: Trouble is over when so many calls have come after it.
CALLS_AFTER: Final = 4
#: Logarithm of how much likelier a stretch must be by a raised mean than by none.
SURE: Final = 9.0
#: The raised mean that is listened for, in deviations; single calls say no more than so many.
RAISED: Final = 1.2
CLIPPED: Final = 3.0
#: Looks: each knows better than the one before what is usual.
LOOKS: Final = 3
#: No more than this share of the calls can have been trouble.
MOST: Final = 0.5


def usual_calls(ts: NDArray[np.int64], bins: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """Which calls (by arrival, with the bins, below `size`, of what they took) were of no trouble; all where that would leave
    too few.
    """
    usual = np.ones(len(ts), np.bool_)
    for _ in range(LOOKS):
        known = usual
        standing = standings(np.bincount(bins[known], minlength=size).astype(np.float64))
        scores = np.minimum(np.maximum(standing, -CLIPPED), CLIPPED)[bins]
        usual = ~mark_raised(ts, RAISED * (scores - RAISED / 2), SURE, LONGEST_MS, CALLS_AFTER)
        if np.count_nonzero(usual) < (1.0 - MOST) * len(usual):
            return np.ones(len(ts), np.bool_)
        if np.array_equal(usual, known):
            break
    return usual
