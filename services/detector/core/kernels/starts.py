"""How many events a limit makes of calls of which a share lies outside by chance, when they are not spread evenly.

An event is begun by a call outside with none shortly before: neither among the last few calls nor in the last two minutes. A
minute with a million calls is one event, whatever comes in the others. Knows arrays alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled

#: Minutes in which two that are outside are one event: `metrics.GAP_MS`.
GAP_MINUTES = 2


@compiled("float64(int64[:], float64[:], float64, float64)")
def events_by_chance(minutes: NDArray[np.int64], calls: NDArray[Any], share: float, gap_calls: float) -> float:
    """Events to be expected of so many calls in each of these minutes (ascending), of which a share (0 … 1) lies outside, each by
    itself; `gap_calls`: calls inside that part two events at least.
    """
    if share <= 0.0:
        return 0.0
    inside = math.log1p(-min(share, 1.0 - 1e-12))
    apart = math.exp(inside * gap_calls)
    total = 0.0
    for i in range(len(minutes)):
        n = calls[i]
        last, first = 0.0, 0.0
        for j in range(max(0, i - GAP_MINUTES), i):
            if minutes[j] == minutes[i] - 1:
                last = calls[j]
            elif minutes[j] == minutes[i] - 2:
                first = calls[j]
        # The two minutes before a call: of its own minute the part that is over, of the minute before last the rest.
        if last + (first + n) / 2.0 <= gap_calls:
            total += n * share * apart
        elif n > 0.0:
            # The mean over a minute of the chance that none was outside in the two before.
            begin, steep = math.exp(inside * (last + first)), inside * (n - first)
            total += n * share * ((math.exp(inside * (last + n)) - begin) / steep if abs(steep) > 1e-6 else begin)
    return total
