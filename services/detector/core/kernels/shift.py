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
#: Logarithm of how much likelier by none, since its best, a stretch is over.
OVER: Final = 4.0
_LEAST_SPREAD: Final = 1e-9
#: Times by which `slowed` listens for calls to be slower, and these in bins.
SLOWER: Final = (2.5, 4.0, 8.0)
_SLOWER_BINS: Final = tuple(round(math.log(times) / LN_WIDTH) for times in SLOWER)
#: Weights of the bins around a call's, from its own outwards: a normal density of 0.1 in logarithms, cut off where it is nothing.
SMOOTH: Final = tuple(0.4 / math.sqrt(2.0 * math.pi) * math.exp(-((0.4 * i) ** 2) / 2.0) for i in range(9))
#: Share of the calls that may be anywhere, and the most that one call may say.
ANYWHERE: Final = 0.03
MOST_SAID: Final = 2.0
#: Coefficients of Acklam's rational approximation of the normal quantile (2003), relative error 1.15e-9.
_A = (
    -3.969683028665376e1,
    2.209460984245205e2,
    -2.759285104469687e2,
    1.383577518672690e2,
    -3.066479806614716e1,
    2.506628277459239,
)
_B = (-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1)
_C = (
    -7.784894002430293e-3,
    -3.223964580411365e-1,
    -2.400758277161838,
    -2.549732539343734,
    4.374664141464968,
    2.938163982698783,
)
_D = (7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416)
_TAIL: Final = 0.02425


@compiled("float64(float64)")
def normal_quantile(p: float) -> float:
    """The x with P(Z <= x) = p of a standard normal Z; 0 < p < 1."""
    low = min(p, 1.0 - p)
    if low < _TAIL:
        q = math.sqrt(-2.0 * math.log(low))
        x = (((((_C[0] * q + _C[1]) * q + _C[2]) * q + _C[3]) * q + _C[4]) * q + _C[5]) / (
            (((_D[0] * q + _D[1]) * q + _D[2]) * q + _D[3]) * q + 1.0
        )
        return x if p < 0.5 else -x
    q = p - 0.5
    r = q * q
    return (
        (((((_A[0] * r + _A[1]) * r + _A[2]) * r + _A[3]) * r + _A[4]) * r + _A[5])
        * q
        / (((((_B[0] * r + _B[1]) * r + _B[2]) * r + _B[3]) * r + _B[4]) * r + 1.0)
    )


@compiled("UniTuple(float64, 3)(float64[::1], float64[::1])")
def compare(recent: Counts, before: Counts) -> tuple[float, float, float]:
    """(z of the normal scores test (van der Waerden 1952) that `recent` lies above `before`, ties sharing the score of their
    middle rank; how much higher its middle is: the mean difference of the logarithms of eight quantiles; deviation of the
    logarithms of `before`). Zeros when one is empty. O(bins).

    As good as the t test where logarithms are normal, exact whatever they are, and it tells a few calls that are all above
    what was from a few that are merely high, which ranks alone cannot.
    """
    n, m = recent.sum(), before.sum()
    if n <= 0.0 or m <= 0.0:
        return 0.0, 0.0, 0.0
    total = n + m
    passed, score, mean, square, first, second = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(recent)):
        both = recent[i] + before[i]
        if both > 0.0:
            a = normal_quantile((passed + both / 2.0) / total)
            passed += both
            score += recent[i] * a
            mean += both * a
            square += both * a * a
            first += before[i] * i
            second += before[i] * i * i
    mean /= total
    variance = n * m / total * (square / total - mean * mean) * total / max(total - 1.0, 1.0)
    z = (score - n * mean) / math.sqrt(max(variance, _LEAST_SPREAD))
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


@compiled("float64(float64[::1], float64[::1])")
def slowed(recent: Counts, before: Counts) -> float:
    """ln of how much likelier `recent` is if calls as `before` take SLOWER times as long, the likeliest of these, than if they do
    not (Neyman & Pearson 1933). `before` is smoothed, a call says MOST_SAID at most either way; 0 when it is empty. O(bins).

    Where a tool has calls of several kinds, this tells that each kind is slower, which their ranks among all calls hardly show;
    and calls of a level that merely wanders speak against it.
    """
    total, size = before.sum(), len(before)
    if total <= 0.0:
        return 0.0
    density = np.full(size, ANYWHERE / size)
    for i in range(size):
        if before[i] > 0.0:
            share = (1.0 - ANYWHERE) * before[i] / total
            for k in range(len(SMOOTH)):
                if i + k < size:
                    density[i + k] += share * SMOOTH[k]
                if i >= k > 0:
                    density[i - k] += share * SMOOTH[k]
    likeliest = -math.inf
    for bins in _SLOWER_BINS:
        said = 0.0
        for i in range(size):
            if recent[i] > 0.0:
                slower = density[i - bins] if i >= bins else ANYWHERE / size
                said += recent[i] * min(max(math.log(slower / density[i]), -MOST_SAID), MOST_SAID)
        likeliest = max(likeliest, said)
    return likeliest


@compiled("float64[::1](float64[::1])")
def normal_scores(counts: Counts) -> Counts:
    """The normal score of each bin's calls, 0 of empty ones; ties share the score of their middle rank."""
    total, passed = counts.sum(), 0.0
    scores = np.zeros(len(counts))
    for i in range(len(counts)):
        if counts[i] > 0.0:
            scores[i] = normal_quantile((passed + counts[i] / 2.0) / total)
            passed += counts[i]
    return scores


@compiled("boolean[::1](int64[::1], float64[::1], float64, int64, int64)")
def mark_raised(ts: NDArray[np.int64], gains: Counts, sure: float, longest_ms: int, after: int) -> NDArray[np.bool_]:
    """Which values are of a stretch whose gains sum up to `sure` and that is followed by at least `after` others; none of
    a stretch that lasts longer than `longest_ms`. A stretch ends at its highest sum, when that has fallen by OVER, or to
    nothing, since. O(n).
    """
    marked = np.zeros(len(gains), np.bool_)
    first, best, total, highest = 0, -1, 0.0, 0.0
    i = 0
    while i <= len(gains):
        ends = i == len(gains) or (best >= 0 and (total + gains[i] <= 0.0 or total + gains[i] <= highest - OVER))
        if ends and best >= 0:
            if highest >= sure and len(gains) - 1 - best >= after and ts[best] - ts[first] <= longest_ms:
                marked[first : best + 1] = True
            i = best + 1
            best, total, highest = -1, 0.0, 0.0
            continue
        if i == len(gains):
            break
        if best < 0:
            if gains[i] > 0.0:
                first, best, total, highest = i, i, gains[i], gains[i]
        else:
            total += gains[i]
            if total > highest:
                best, highest = i, total
        i += 1
    return marked


@compiled("float64[::1](float64[::1])")
def standings(counts: Counts) -> Counts:
    """The normal score that one more call of each bin would have among these: of its middle rank. O(bins)."""
    total, passed = counts.sum(), 0.0
    scores = np.empty(len(counts))
    for i in range(len(counts)):
        scores[i] = normal_quantile((passed + counts[i] / 2.0 + 0.5) / (total + 1.0))
        passed += counts[i]
    return scores
