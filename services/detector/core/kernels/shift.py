"""Compare two samples given as histograms over the same logarithmic bins."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.bins import LN_WIDTH
from services.detector.core.kernels.compiled import compiled

Counts = NDArray[np.float64]

#: Quantiles whose logarithms are compared: the middle, so that neither tail decides.
_FIRST, _STEP, _QUANTILES = 0.15, 0.1, 8
_LEAST_SPREAD: Final = 1e-9


@compiled("UniTuple(float64, 3)(float64[::1], float64[::1])")
def compare(recent: Counts, before: Counts) -> tuple[float, float, float]:
    """(z of the Mann-Whitney test that `recent` lies above `before`, ties counted half; how much higher its middle is: the mean
    difference of the logarithms of eight quantiles; deviation of the logarithms of `before`). Zeros when one is empty. O(bins).
    """
    n, m = recent.sum(), before.sum()
    if n <= 0.0 or m <= 0.0:
        return 0.0, 0.0, 0.0
    above, below, ties, first, second = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(recent)):
        above += recent[i] * (below + before[i] / 2.0)
        below += before[i]
        first += before[i] * i
        second += before[i] * i * i
        both = recent[i] + before[i]
        ties += both * both * both - both
    total = n + m
    variance = n * m / 12.0 * (total + 1.0 - ties / max(total * (total - 1.0), 1.0))
    z = (above - n * m / 2.0) / math.sqrt(max(variance, _LEAST_SPREAD))
    moved, i, j, seen, seen_before = 0.0, 0, 0, recent[0], before[0]
    for k in range(_QUANTILES):
        q = _FIRST + _STEP * k
        while seen < q * n and i < len(recent) - 1:
            i += 1
            seen += recent[i]
        while seen_before < q * m and j < len(before) - 1:
            j += 1
            seen_before += before[j]
        moved += (i - j) * LN_WIDTH / _QUANTILES
    spread = math.sqrt(max(second / m - (first / m) ** 2, 0.0)) * LN_WIDTH
    return z, moved, spread
