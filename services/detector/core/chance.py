"""How many events a named method finds in a tool that is as it always is: what its limit says nothing about by itself.

The percentile's number follows from its name: 1 − q of the calls lie above it, whatever they are like. Of the z-score and the
moving average it is estimated: calls are taken to be lognormal with the tool's own median and spread, the latter from its
quantiles, so that what went wrong in the window hardly counts. What is outside shortly after another is no event of its own.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from services.detector.core import severity
from services.detector.core.kernels.bins import MIDDLES
from services.detector.core.kernels.spans import WINDOW_CALLS
from services.detector.core.metrics import GAP_CALLS, GAP_MS
from services.detector.core.view import Float64

#: The quantile that tells of the spread, and how many deviations it lies above the median.
HIGH: Final = 0.9
_HIGH_Z: Final = 1.2816


def spread_of(counts: Float64, low: int) -> tuple[float, float]:
    """(median, deviation of the logarithm) of a histogram whose first bin has number `low`; zeros when they are not known."""
    running = np.cumsum(counts)
    total = float(running[-1]) if len(running) else 0.0
    if total <= 0:
        return 0.0, 0.0
    places = np.searchsorted(running, (0.5 * total, HIGH * total)) + low
    median, high = MIDDLES[np.minimum(places, len(MIDDLES) - 1)].tolist()
    return median, math.log(high / median) / _HIGH_Z if median > 0 else 0.0


def beyond_deviations(median: float, spread: float, lower: float, upper: float) -> float:
    """The share of calls outside lower … upper."""
    if spread <= 0 or median <= 0:
        return 0.0
    above = severity.normal_tail(math.log(upper / median) / spread) if upper > 0 else 1.0
    return above + (severity.normal_tail(math.log(median / lower) / spread) if lower > 0 else 0.0)


def beyond_average(spread: float, times: float) -> float:
    """The share of calls above so many times the mean of the WINDOW_CALLS before, which varies by itself."""
    if spread <= 0:
        return 0.0
    wandering = math.log1p(math.expm1(min(spread * spread, 50.0)) / WINDOW_CALLS)
    limit = math.log(times) + (spread * spread - wandering) / 2.0
    return severity.normal_tail(limit / math.sqrt(spread * spread + wandering))


def events(calls: float, share: float, span_ms: int) -> float:
    """How many events come of `calls` of which a share is outside, each by itself: those with none shortly before them."""
    together = max(float(GAP_CALLS), calls * GAP_MS / max(span_ms, 1))
    return calls * share * math.pow(1.0 - min(max(share, 0.0), 1.0), together)
