"""What queries and the sweep compute over arrays: the value at a rank, a robust slope."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled

Values = NDArray[np.float64]


@compiled("float64(float64[::1], int64)")
def smallest(values: Values, rank: int) -> float:
    """The value that stands at `rank` among the ascending ones; what is before it in `values` is not above it afterwards, what is
    behind it not below (Hoare's selection, 1961; numba takes a second to compile numpy's). No NaN among them.
    """
    first, last = 0, len(values) - 1
    while first < last:
        pivot = values[(first + last) // 2]
        i, j = first, last
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            last = j
        elif rank >= i:
            first = i
        else:
            break
    return float(values[rank])


@compiled("UniTuple(float64, 2)(float64[:], float64[:])")
def trend(t: Values, y: Values) -> tuple[float, float]:
    """(Theil–Sen slope of y over t, Kendall's S: pairs that rise minus pairs that fall).

    Pairs with equal t are left out. O(n²): for summaries, not for calls. (0, 0) with fewer than two usable pairs.
    """
    n = len(t)
    slopes = np.empty(max(1, n * (n - 1) // 2))
    found = 0
    score = 0.0
    for i in range(n):
        for j in range(i + 1, n):
            if t[j] == t[i] or not (math.isfinite(y[i]) and math.isfinite(y[j])):
                continue
            slopes[found] = (y[j] - y[i]) / (t[j] - t[i])
            if slopes[found] > 0.0:
                score += 1.0
            elif slopes[found] < 0.0:
                score -= 1.0
            found += 1
    if found == 0:
        return 0.0, 0.0
    middle = smallest(slopes[:found], found // 2)
    if found % 2 == 1:
        return middle, score
    below = slopes[0]
    for k in range(found // 2):
        below = max(below, slopes[k])
    return float((below + middle) / 2.0), score
