"""What the named methods ask of a span of a series' past: its calls in order of time, moments, ranks, averages.

Pure over arrays, allocates nothing. Shapes: `ts` i64[capacity], `x` f64[≥ metrics, capacity]: the rings of `state.calls`,
`dropped_ts` the latest call that went; `minutes` and `moments`, `quarters` and `counts`: as in `kernels.fold`.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.bins import middle, rank_bin
from services.detector.core.kernels.compiled import compiled
from services.detector.core.kernels.fold import LOW, M2, MEAN, N
from services.detector.core.kernels.query import smallest

Values = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: Of a metric: how many calls, their mean and deviation (population), and the smallest; how many only minutes tell of; the middle
#: one and that at HIGH_RANK of the quarter hours, within 2 %, 0 for none.
COUNT, AVERAGE, DEVIATION, LOWEST, TOLD, MIDDLE, HIGH_ONE = range(7)
FIGURES: Final = 7
HIGH_RANK: Final = 0.9
#: Of squares so little may be left when the mean is taken off; else they are summed again around it.
_LEAST_LEFT = 1e-6

#: Calls in the moving average, and fewest.
WINDOW_CALLS: Final = 20
FEWEST_WINDOW_CALLS: Final = 5
#: A sliding sum is made anew when what leaves it is this many times what stays, and after this many steps at the latest.
ANEW_TIMES: Final = 8.0
ANEW_STEPS: Final = 64

MINUTE: Final = 60_000


@compiled("int64(int64[::1], int64, int64)", part=True)
def first_not_below(keys: Int64, filled: int, wanted: int) -> int:
    """The row of the first of the `filled` ascending keys that is at least `wanted`."""
    low, high = 0, filled
    while low < high:
        mid = (low + high) // 2
        if keys[mid] < wanted:
            low = mid + 1
        else:
            high = mid
    return low


@compiled("UniTuple(int64, 2)(int64, int64, int64[::1], int64, int64, int64[::1], int64, float64[:, :, ::1])")
def tally(
    start: int, end: int, ts: Int64, filled: int, dropped_ts: int, minutes: Int64, minutes_filled: int, moments: Values
) -> tuple[int, int]:
    """Calls from start to end that can be looked at one by one, and those that only minutes tell of."""
    held = straddling = 0
    minute_end = dropped_ts // MINUTE * MINUTE + MINUTE
    for i in range(filled):
        if start <= ts[i] <= end and ts[i] > dropped_ts:
            held += 1
            straddling += 1 if ts[i] < minute_end else 0
    if dropped_ts < start:
        return held, 0
    told = 0.0
    row = first_not_below(minutes, minutes_filled, -(-start // MINUTE))
    last = min(dropped_ts, end) // MINUTE
    while row < minutes_filled and minutes[row] <= last:
        told += moments[row, 0, N]
        row += 1
    return held, max(0, int(told) - straddling)


@compiled("int64(int64[::1], int64, int64, int64, int64[::1])", part=True)
def in_order(ts: Int64, filled: int, following: int, end: int, order: Int64) -> int:
    """Where the calls up to `end` stand in the ring, ascending by time, into `order`; how many."""
    n = 0
    for j in range(filled):
        at = j if filled < len(ts) else (following + j) % len(ts)
        if ts[at] > end:
            continue
        i = n
        while i > 0 and ts[order[i - 1]] > ts[at]:
            order[i] = order[i - 1]
            i -= 1
        order[i] = at
        n += 1
    return n


@compiled("int64(float64[:, ::1], int64, int64[::1], int64, int64[::1], float64[::1], int64[::1])", part=True)
def gather(x: Values, metric: int, order: Int64, calls: int, ts: Int64, values: Values, when: Int64) -> int:
    """The calls in which a metric was measured, ascending by time, into `values` and `when`; how many."""
    n = 0
    for i in range(calls):
        value = x[metric, order[i]]
        if math.isfinite(value):
            values[n], when[n] = value, ts[order[i]]
            n += 1
    return n


@compiled("void(float64[::1], int64, int64, float64[::1])", part=True)
def figures_of_calls(x: Values, first: int, end: int, figures: Values) -> None:
    """Moments of x[first:end], scaled first, so that squares of large values stay finite."""
    scale, lowest = 0.0, math.inf
    for i in range(first, end):
        scale, lowest = max(scale, abs(x[i])), min(lowest, x[i])
    n = end - first
    figures[COUNT], figures[LOWEST] = n, lowest
    figures[AVERAGE] = figures[DEVIATION] = 0.0
    if scale == 0.0:
        return
    total = 0.0
    for i in range(first, end):
        total += x[i] / scale
    mean, squares = total / n, 0.0
    for i in range(first, end):
        squares += (x[i] / scale - mean) ** 2
    figures[AVERAGE], figures[DEVIATION] = mean * scale, math.sqrt(squares / n) * scale


@compiled("void(float64[:, :, ::1], int64, int64, int64, float64[::1])", part=True)
def sum_again(moments: Values, metric: int, first: int, end: int, figure: Values) -> None:
    """Mean and squares around it, in two passes: what the first minute says is far from the others."""
    total = 0.0
    for row in range(first, end):
        if moments[row, metric, N] > 0.0:
            total += moments[row, metric, N] * moments[row, metric, MEAN]
    mean, squares = total / figure[COUNT], 0.0
    for row in range(first, end):
        if moments[row, metric, N] > 0.0:
            apart = moments[row, metric, MEAN] - mean
            squares += moments[row, metric, M2] + moments[row, metric, N] * apart * apart
    figure[AVERAGE], figure[DEVIATION] = mean, squares


@compiled("void(float64[:, :, ::1], int64, int64, int64, int64, float64[:, ::1])", part=True)
def figures_of_minutes(moments: Values, metrics: int, first: int, end: int, gone: int, figures: Values) -> None:
    """Moments of all calls of minutes, of all metrics at once, for the rows are longer than the processor's cache; around each
    metric's first mean (Chan, Golub, LeVeque 1979). TOLD: of the minutes before row `gone`.
    """
    for metric in range(metrics):
        figure = figures[metric]
        figure[COUNT] = figure[AVERAGE] = figure[DEVIATION] = figure[TOLD] = 0.0
        figure[LOWEST] = math.inf
    for number in range(first, end):
        row = np.uint64(number)  # numba looks at the sign of others
        for metric in range(metrics):
            n = moments[row, metric, N]
            if n > 0.0:
                figure = figures[metric]
                mean = moments[row, metric, MEAN]
                if figure[COUNT] == 0.0:
                    figure[MIDDLE] = mean
                apart = mean - figure[MIDDLE]
                figure[COUNT] += n
                figure[AVERAGE] += n * apart
                figure[DEVIATION] += moments[row, metric, M2] + n * apart * apart
                figure[LOWEST] = min(figure[LOWEST], moments[row, metric, LOW])
                if number < gone:
                    figure[TOLD] += n
    for metric in range(metrics):
        figure = figures[metric]
        n, around, squares = figure[COUNT], figure[MIDDLE], figure[DEVIATION]
        if n > 0.0:
            figure[DEVIATION] = squares - figure[AVERAGE] * figure[AVERAGE] / n
            figure[AVERAGE] = around + figure[AVERAGE] / n
            if not figure[DEVIATION] > _LEAST_LEFT * squares:
                sum_again(moments, metric, first, end, figure)
            figure[DEVIATION] = math.sqrt(max(figure[DEVIATION], 0.0) / n)


@compiled("float64(float64[::1], int64, int64, float64, float64[::1])", part=True)
def rank_of_calls(x: Values, first: int, end: int, q: float, work: Values) -> float:
    """The nearest-rank quantile of x[first:end], which are not none."""
    n = end - first
    for i in range(n):
        work[i] = x[first + i]
    return float(smallest(work[:n], max(1, math.ceil(q * n - 1e-9)) - 1))


@compiled("float64(uint32[:, ::1], int64, int64, int64, int64, float64[::1])", part=True)
def sum_bins(counts: NDArray[np.uint32], first: int, end: int, begin: int, bins: int, sums: Values) -> float:
    """The bins of quarter hours first … end − 1, which stand from column `begin` on, into `sums`; how many calls they have."""
    into = sums[:bins]
    for i in range(bins):
        into[i] = 0.0
    for row in range(first, end):
        part = counts[row, begin : begin + bins]
        for i in range(len(into)):
            into[i] += part[i]
    total = 0.0
    for i in range(bins):
        total += into[i]
    return total


@compiled("float64(float64[::1], int64, int64, float64, float64)", part=True)
def rank_of_bins(sums: Values, bins: int, low: int, total: float, q: float) -> float:
    """The nearest-rank quantile of so many bins, within 2 %; NaN when they are empty."""
    if total <= 0.0:
        return math.nan
    return float(middle(low + rank_bin(sums[:bins], max(1.0, math.ceil(q * total - 1e-9)))))


@compiled("float64(float64[:, :, ::1], int64, int64, int64)", part=True)
def sum_of(moments: Values, metric: int, first: int, end: int) -> float:
    """The sum of all calls of minutes first … end − 1."""
    total = 0.0
    for row in range(first, end):
        if moments[row, metric, N] > 0:
            total += moments[row, metric, N] * moments[row, metric, MEAN]
    return total


@compiled("UniTuple(float64, 2)(float64[:, :, ::1], int64, int64)", part=True)
def before_row(moments: Values, metric: int, row: int) -> tuple[float, float]:
    """(mean, calls) of the minutes before a row, back to WINDOW_CALLS calls."""
    n, total = 0.0, 0.0
    while row > 0 and n < WINDOW_CALLS:
        row -= 1
        if moments[row, metric, N] > 0:
            n += moments[row, metric, N]
            total += moments[row, metric, N] * moments[row, metric, MEAN]
    return (total / n if n > 0 else 0.0), n


@compiled("void(float64[::1], int64, float64, float64, float64[::1])", part=True)
def averages(x: Values, n: int, mean_before: float, calls_before: float, out: Values) -> None:
    """out[i] = mean of the WINDOW_CALLS values before i; those that are not there count with the mean of `calls_before` calls
    from before; NaN with fewer than FEWEST_WINDOW_CALLS.
    """
    total = 0.0
    for i in range(n):
        held = min(i, WINDOW_CALLS)
        told = min(WINDOW_CALLS - held, calls_before)
        out[i] = (total + told * mean_before) / (held + told) if held + told >= FEWEST_WINDOW_CALLS else math.nan
        leaving = x[i - WINDOW_CALLS] if i >= WINDOW_CALLS else 0.0
        total += x[i] - leaving
        # A sum that gains and loses values drifts, so it is made anew before that matters.
        if i % ANEW_STEPS == 0 or abs(leaving) > ANEW_TIMES * abs(total) or not math.isfinite(total):
            total = 0.0
            for j in range(max(0, i + 1 - WINDOW_CALLS), i + 1):
                total += x[j]
