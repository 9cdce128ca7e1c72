"""The loops of the named methods and of the sweep: masks over calls, grouping into events, a robust slope.

Each is pure over arrays; what is not finite is never outside.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled

Values = NDArray[np.float64]

#: A group of points: index of the first, of the last, of the worst; number of points.
GROUP: Final = 4


@compiled("void(float64[:], float64, float64, float64, uint8[:])")
def outside_zscore(x: Values, mean: float, deviation: float, k: float, out: NDArray[np.uint8]) -> None:
    """out[i] = |x[i] − mean| > k·deviation."""
    limit = k * deviation
    for i in range(len(x)):
        out[i] = 1 if math.isfinite(x[i]) and abs(x[i] - mean) > limit else 0


@compiled("void(float64[:], float64, uint8[:])")
def above(x: Values, limit: float, out: NDArray[np.uint8]) -> None:
    """out[i] = x[i] > limit."""
    for i in range(len(x)):
        out[i] = 1 if math.isfinite(x[i]) and x[i] > limit else 0


@compiled("void(float64[:], int64, int64, float64[:])")
def trailing_mean(x: Values, window: int, fewest: int, out: Values) -> None:
    """out[i] = mean of the up to `window` finite values before i; NaN with fewer than `fewest` of them.

    A sum that gains and loses values would drift, so each is summed anew: O(window) a value, exact.
    """
    for i in range(len(x)):
        total = 0.0
        n = 0
        j = i - 1
        while j >= 0 and n < window:
            if math.isfinite(x[j]):
                total += x[j] / window
                n += 1
            j -= 1
        out[i] = total * (window / n) if n >= fewest else math.nan


@compiled("int64(int64[:], float64[:], uint8[:], int64, int64, int64[:, :])")
def group(
    ts: NDArray[np.int64],
    badness: Values,
    mask: NDArray[np.uint8],
    gap_ms: int,
    gap_calls: int,
    out: NDArray[np.int64],
) -> int:
    """Join marked calls to events: two are one event unless at least `gap_calls` calls *and* more than `gap_ms` lie between
    them. `ts` ascending; `badness` says which call of an event is the worst. Writes out i64[≥ events, GROUP]; how many.
    """
    found = 0
    previous = -1
    for i in range(len(ts)):
        if mask[i] == 0:
            continue
        apart = previous >= 0 and ts[i] - ts[previous] > gap_ms and i - previous - 1 >= gap_calls
        if previous < 0 or apart:
            if found >= out.shape[0]:
                return found
            out[found, 0] = i
            out[found, 2] = i
            out[found, 3] = 0
            found += 1
        row = found - 1
        out[row, 1] = i
        out[row, 3] += 1
        if badness[i] > badness[out[row, 2]]:
            out[row, 2] = i
        previous = i
    return found


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
