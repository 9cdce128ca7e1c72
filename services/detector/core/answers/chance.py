"""How many events a named method finds in a tool that is as it always is: what its limit says nothing about by itself.

The percentile's number follows from its name: 1 − q of the calls lie above it, whatever they are like. Of the z-score and the
moving average it is estimated: calls are taken to be lognormal with the tool's own median and spread, the latter from its
quantiles, so that what went wrong in the window hardly counts. How many events come of a share of calls says `kernels.starts`.
"""

from __future__ import annotations

import math
from typing import Final

from services.detector.core import severity
from services.detector.core.kernels.spans import WINDOW_CALLS

#: How many deviations spans.HIGH_RANK lies above the median.
_HIGH_Z: Final = 1.2816


def spread_of(median: float, high: float) -> float:
    """The deviation of the logarithm of calls with that median, and `high` at spans.HIGH_RANK; 0 when it is not known."""
    return math.log(high / median) / _HIGH_Z if median > 0 and high > median else 0.0


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
