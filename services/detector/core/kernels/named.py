"""The loops of the named methods: one look through a series' calls and minutes, all its metrics, grouped into events at once.

Calls that are held are taken one by one, in order of time; before them each minute stands in with its largest (and, for the
z-score, smallest) call. Pure over arrays, allocates nothing; what is not finite is never outside.

Shapes: as in `kernels.spans`; `starts`, `lows`: as in `kernels.fold`.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled
from services.detector.core.kernels.fold import AT, HIGH, LOW, MEAN, N
from services.detector.core.kernels.spans import (
    ANEW_STEPS,
    ANEW_TIMES,
    AVERAGE,
    COUNT,
    DEVIATION,
    FEWEST_WINDOW_CALLS,
    HIGH_ONE,
    HIGH_RANK,
    LOWEST,
    MIDDLE,
    MINUTE,
    TOLD,
    WINDOW_CALLS,
    averages,
    before_row,
    figures_of_calls,
    figures_of_minutes,
    first_not_below,
    gather,
    in_order,
    rank_of_bins,
    rank_of_calls,
    sum_bins,
    sum_of,
)

Values = NDArray[np.float64]
Int64 = NDArray[np.int64]

ZSCORE, MOVING_AVERAGE, PERCENTILE = range(3)
#: An event: its metric; first, last and worst time; the worst value and the limits it passed; sum and number of the calls
#: outside; where its first and last stand among the calls looked at; how far the worst is outside; the usual value.
(
    METRIC, START, LAST, PEAK_AT, VALUE, LOWER, UPPER, TOTAL, POINTS, FIRST_PLACE, LAST_PLACE, EXCESS, MEDIAN,
) = range(13)  # fmt: skip
FOUND: Final = 13
_QUARTER = 900_000


@compiled(
    "int64(float64[:, ::1], int64, int64, int64, int64, int64, float64, float64, float64, float64, float64)", part=True
)
def mark(
    out: Values,
    begun: int,
    found: int,
    gap_ms: int,
    gap_calls: int,
    t: int,
    place: float,
    value: float,
    lower: float,
    upper: float,
    metric: float,
) -> int:
    """Note a call that is outside: two are one event unless at least `gap_calls` calls *and* more than `gap_ms` lie between
    them. `begun`: where this metric's events begin; how many events there are now.
    """
    excess = max(value - upper, lower - value)
    if found > begun:
        row = out[found - 1]
        if t - row[LAST] <= gap_ms or place - row[LAST_PLACE] - 1.0 < gap_calls:
            row[LAST], row[LAST_PLACE] = t, place
            row[POINTS] += 1.0
            row[TOTAL] += value
            if excess > row[EXCESS]:
                row[PEAK_AT], row[VALUE], row[LOWER], row[UPPER], row[EXCESS] = t, value, lower, upper, excess
            return found
    if found >= len(out):
        return found
    row = out[found]
    row[METRIC], row[START], row[LAST], row[PEAK_AT], row[VALUE] = metric, t, t, t, value
    row[LOWER], row[UPPER], row[TOTAL], row[POINTS] = lower, upper, value, 1.0
    row[FIRST_PLACE], row[LAST_PLACE], row[EXCESS] = place, place, excess
    return found + 1


@compiled(
    "int64(int64, float64, int64, int64, int64, int64, float64[::1], float64[::1], int64[::1], int64, int64, int64, "
    "float64, float64, float64, float64, float64, int64, float64[:, ::1])",
    part=True,
)
def scan_calls(
    method: int,
    k: float,
    begun: int,
    found: int,
    gap_ms: int,
    gap_calls: int,
    values: Values,
    average: Values,
    when: Int64,
    first: int,
    n: int,
    dropped_minute: int,
    mean: float,
    reach: float,
    lower: float,
    upper: float,
    place: float,
    metric: int,
    out: Values,
) -> int:
    """Mark the calls first … n − 1 that are outside; `place`: of the first of them, its minute's calls not yet taken off."""
    for i in range(first, n):
        if when[i] // MINUTE != dropped_minute:
            break
        place -= 1.0  # the minute of the latest call that went has it too
    for i in range(first, n):
        value = values[i]
        if method == MOVING_AVERAGE:
            upper = k * average[i]
        outside = abs(value - mean) > reach if method == ZSCORE else value > upper
        if outside:
            found = mark(out, begun, found, gap_ms, gap_calls, when[i], place, value, lower, upper, metric)
        place += 1.0
    return found


@compiled(
    "int64(int64, int64, int64, int64, int64, int64, int64, int64[::1], float64[:, :, ::1], int64, int64, int64, "
    "float64, float64, float64, float64, float64[:, ::1])",
    part=True,
)
def scan_minutes(
    method: int,
    begun: int,
    found: int,
    gap_ms: int,
    gap_calls: int,
    end: int,
    dropped_ts: int,
    minutes: Int64,
    moments: Values,
    first_row: int,
    gone_row: int,
    metric: int,
    mean: float,
    reach: float,
    lower: float,
    upper: float,
    out: Values,
) -> int:
    """Mark the largest (of whole minutes for the z-score also the smallest) calls of minutes that are outside. Each stands in the
    middle of its minute's calls.
    """
    place, until = 0.0, min(dropped_ts, end)
    for number in range(first_row, gone_row):
        row = np.uint64(number)  # numba looks at the sign of others
        n, high = moments[row, metric, N], moments[row, metric, HIGH]
        if n <= 0.0:
            continue
        stands = place + (n - 1.0) * 0.5
        place += n
        if method == ZSCORE:
            low, begins = moments[row, metric, LOW], minutes[row] * MINUTE
            if mean - low > reach and begins + MINUTE <= dropped_ts:
                found = mark(out, begun, found, gap_ms, gap_calls, begins, stands, low, lower, upper, metric)
            outside = high - mean > reach
        else:
            outside = high > upper
        if outside and moments[row, metric, AT] <= until:
            at = int(moments[row, metric, AT])
            found = mark(out, begun, found, gap_ms, gap_calls, at, stands, high, lower, upper, metric)
    return found


@compiled(
    "int64(float64, int64, int64, int64, int64, int64, int64, float64[:, :, ::1], int64, int64, int64, float64[:, ::1])",
    part=True,
)
def scan_averages(
    k: float,
    begun: int,
    found: int,
    gap_ms: int,
    gap_calls: int,
    end: int,
    dropped_ts: int,
    moments: Values,
    first_row: int,
    gone_row: int,
    metric: int,
    out: Values,
) -> int:
    """`scan_minutes` for the moving average: of the minutes before with at least WINDOW_CALLS calls."""
    since, window, place = first_row, 0.0, 0.0
    # The lookback's first minutes are averaged over those before it.
    while since > 0 and window < WINDOW_CALLS:
        since -= 1
        window += moments[since, metric, N]
    total = sum_of(moments, metric, since, first_row)
    until = min(dropped_ts, end)
    for number in range(first_row, gone_row):
        row = np.uint64(number)  # numba looks at the sign of others
        n, high = moments[row, metric, N], moments[row, metric, HIGH]
        if n <= 0.0:
            continue
        upper = k * (total / window) if window >= FEWEST_WINDOW_CALLS else math.nan
        if high > upper and moments[row, metric, AT] <= until:
            at, stands = int(moments[row, metric, AT]), place + (n - 1.0) * 0.5
            found = mark(out, begun, found, gap_ms, gap_calls, at, stands, high, 0.0, upper, metric)
        place += n
        window += n
        total += n * moments[row, metric, MEAN]
        anew = (number - first_row) % ANEW_STEPS == 0 or not math.isfinite(total)
        size = moments[np.uint64(since), metric, N]
        while window - size >= WINDOW_CALLS:
            leaving = size * moments[np.uint64(since), metric, MEAN] if size > 0.0 else 0.0
            window -= size
            total -= leaving
            anew = anew or abs(leaving) > ANEW_TIMES * abs(total)
            since += 1
            size = moments[np.uint64(since), metric, N]
        if anew:
            total = sum_of(moments, metric, since, number + 1)
    return found


@compiled(
    "int64(int64, float64, int64, int64, int64, int64, int64, int64[::1], float64[:, ::1], int64, int64, int64, int64, "
    "int64[::1], int64, float64[:, :, ::1], int64[::1], int64, uint32[:, ::1], int64[::1], int64[::1], int64[::1], "
    "int64[::1], float64[:, ::1], float64[:, ::1], float64[:, ::1])"
)
def look(
    method: int,
    k: float,
    start: int,
    end: int,
    fewest: int,
    gap_ms: int,
    gap_calls: int,
    ts: Int64,
    x: Values,
    metrics: int,
    filled: int,
    following: int,
    dropped_ts: int,
    minutes: Int64,
    minutes_filled: int,
    moments: Values,
    quarters: Int64,
    quarters_filled: int,
    counts: NDArray[np.uint32],
    starts: Int64,
    lows: Int64,
    order: Int64,
    when: Int64,
    work: Values,
    figures: Values,
    out: Values,
) -> int:
    """The events of a series from start to end; how many stand in `out` f64[≥ (span // gap_ms + 2) × metrics, FOUND]. `figures`
    f64[metrics, FIGURES]; `order`, `when` i64[≥ capacity], `work` f64[4, ≥ capacity and bins] are room to work in. `k`: times
    the deviation or average, or the percentile as a share. Metrics with less than `fewest` calls are not judged.
    """
    exact = dropped_ts < start
    calls = in_order(ts, filled, following, end, order)
    first_row = first_not_below(minutes, minutes_filled, -(-start // MINUTE))
    end_row = first_not_below(minutes, minutes_filled, end // MINUTE + 1)
    # The minute of the latest call that is no longer held, and the row behind it.
    edge_row = first_not_below(minutes, minutes_filled, dropped_ts // MINUTE)
    gone_row = min(first_not_below(minutes, minutes_filled, dropped_ts // MINUTE + 1), end_row)
    first_quarter = first_not_below(quarters, quarters_filled, start // _QUARTER)
    end_quarter = first_not_below(quarters, quarters_filled, end // _QUARTER + 1)
    values, average, room, sums = work[0], work[1], work[2], work[3]
    found = 0
    if not exact:
        figures_of_minutes(moments, metrics, first_row, end_row, gone_row, figures)
    for metric in range(metrics):
        begin, bins, low = starts[metric], starts[metric + 1] - starts[metric], lows[metric]
        n = gather(x, metric, order, calls, ts, values, when)
        first = first_not_below(when, n, max(start, dropped_ts + 1))
        figure = figures[metric]
        if exact:
            figures_of_calls(values, first, n, figure)
        if figure[COUNT] < fewest:
            continue
        total = sum_bins(counts, first_quarter, end_quarter, begin, bins, sums)
        figure[MIDDLE] = rank_of_bins(sums, bins, low, total, 0.5)
        figure[HIGH_ONE] = rank_of_bins(sums, bins, low, total, HIGH_RANK)
        begun, mean, reach = found, figure[AVERAGE], k * figure[DEVIATION]
        lower, upper = figure[LOWEST], math.nan
        if method == ZSCORE:
            lower, upper = mean - reach, mean + reach
        elif method == MOVING_AVERAGE:
            mean_before, calls_before = before_row(moments, metric, edge_row) if dropped_ts >= 0 else (0.0, 0.0)
            averages(values, n, mean_before, calls_before, average)
            lower = 0.0
        elif exact:
            upper = rank_of_calls(values, first, n, k, room)
        else:
            upper = rank_of_bins(sums, bins, low, total, k)
        if not exact and method == MOVING_AVERAGE:
            found = scan_averages(
                k, begun, found, gap_ms, gap_calls, end, dropped_ts, moments, first_row, gone_row, metric, out
            )
        elif not exact:
            found = scan_minutes(
                method, begun, found, gap_ms, gap_calls, end, dropped_ts, minutes, moments, first_row, gone_row, metric,
                mean, reach, lower, upper, out,
            )  # fmt: skip
        place = 0.0 if exact else figure[TOLD]
        found = scan_calls(
            method, k, begun, found, gap_ms, gap_calls, values, average, when, first, n, -1 if exact else dropped_ts // MINUTE,
            mean, reach, lower, upper, place, metric, out,
        )  # fmt: skip
        if found > begun:
            usual = rank_of_calls(values, first, n, 0.5, room) if exact else figure[MIDDLE]
            usual = usual if usual >= 0.0 else mean  # without quarter hours
            for i in range(begun, found):
                out[i, MEDIAN] = usual
    return found
