"""Fold calls into a series' minute summaries and quarter-hour histograms.

Knows arrays alone; `state.series` makes room before it calls.

Shapes: `x` f64[metrics, n], NaN = not measured; `minutes` i64[≥ filled] ascending; `moments` f64[≥ filled, metrics, 6] with
the columns N … AT; `failures` f64[≥ filled]; `quarters` i64[≥ rows] ascending; `counts` u32[≥ rows, bins of all metrics],
metric j in columns starts[j]:starts[j + 1], its first bin being number lows[j].
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.bins import bin_of
from services.detector.core.kernels.compiled import compiled
from services.detector.core.signal.pending import note

#: Columns of `moments`: count, mean, sum of squared deviations from the mean, smallest, largest, ts of the largest.
N, MEAN, M2, LOW, HIGH, AT = range(6)
MOMENTS: Final = 6

_MINUTE = 60_000
_QUARTER = 900_000


@compiled("int64(int64[:], int64, int64, int64)", part=True)
def row_of(times: NDArray[np.int64], filled: int, near: int, wanted: int) -> int:
    """The row of a time among `filled` ascending ones, looked for from row `near` on; −1 when there is none."""
    at = max(0, min(near, filled - 1))
    while at < filled - 1 and times[at] < wanted:
        at += 1
    while at > 0 and times[at] > wanted:
        at -= 1
    return at if filled > 0 and times[at] == wanted else -1


@compiled("void(int64[::1], int64, int64[:, ::1])", part=True)
def put_together(ts: NDArray[np.int64], start: int, found: NDArray[np.int64]) -> None:
    """Of calls from two minutes have those of the one that begins at `start` stand last, each in order of arrival."""
    at, minute_rows, quarter_rows = found[0], found[1], found[2]
    row, quarter, other_row, other_quarter, others = -1, -1, -1, -1, 0
    for i in range(len(ts)):
        if 0 <= ts[i] - start < _MINUTE:
            row, quarter = minute_rows[i], quarter_rows[i]
        else:
            other_row, other_quarter = minute_rows[i], quarter_rows[i]
            others += 1
    here, there = others, 0
    for i in range(len(ts)):
        if 0 <= ts[i] - start < _MINUTE:
            at[here] = i
            here += 1
        else:
            at[there] = i
            there += 1
    for k in range(len(ts)):
        minute_rows[k] = row if k >= others else other_row
        quarter_rows[k] = quarter if k >= others else other_quarter


@compiled("boolean(int64[::1], int64[::1], int64, int64[::1], int64, int64[:, ::1])")
def find_rows(
    ts: NDArray[np.int64],
    minutes: NDArray[np.int64],
    filled: int,
    quarters: NDArray[np.int64],
    rows: int,
    found: NDArray[np.int64],
) -> bool:
    """Where each call goes: its number into found[0], the rows of its minute and quarter hour, −1 for none, into found[1] and
    found[2], i64[3, ≥ n]. Calls from two minutes, in whatever order they came, stand together. Whether all have both rows; where
    there is no room for quarter hours, the minute's.
    """
    at, minute_rows, quarter_rows = found[0], found[1], found[2]
    near, near_q, whole = filled - 1, rows - 1, True
    # The minute last seen, and another one: their beginning, row and quarter's row.
    start, row, quarter = -_MINUTE, -1, -1
    other_start, other_row, other_quarter = start, row, quarter
    looked_up = 0
    for i in range(len(ts)):
        t = ts[i]
        if not 0 <= t - start < _MINUTE:
            start, other_start = other_start, start
            row, other_row = other_row, row
            quarter, other_quarter = other_quarter, quarter
            if not 0 <= t - start < _MINUTE:
                start = t // _MINUTE * _MINUTE
                row = row_of(minutes, filled, near, t // _MINUTE)
                quarter = row_of(quarters, rows, near_q, t // _QUARTER)
                near = row if row >= 0 else near
                near_q = quarter if quarter >= 0 else near_q
                whole = whole and row >= 0 and (quarter >= 0 or len(quarters) == 0)
                looked_up += 1
        at[i] = i
        minute_rows[i] = row
        quarter_rows[i] = quarter
    if looked_up == 2:
        put_together(ts, start, found)
    return whole


@compiled("boolean(float64[:], float64, float64)")
def all_fit(values: NDArray[np.float64], first: float, last: float) -> bool:
    """Whether every finite value lies in first ≤ value < last."""
    for i in range(len(values)):
        value = values[i]
        if math.isfinite(value) and not first <= value < last:
            return False
    return True


@compiled(
    "void(float64[::1], int64, float64, float64, float64, float64, float64, float64)",
    part=True,
)
def merge(
    moment: NDArray[np.float64],
    n: int,
    first: float,
    total: float,
    squares: float,
    least: float,
    most: float,
    most_at: float,
) -> None:
    """Add n values to a minute's summary: their sum and sum of squares around `first`, the smallest, the largest and when that
    was (Chan, Golub, LeVeque 1979, eq. 2.1).
    """
    if n == 0:
        return
    mean = first + total / n
    spread = max(squares - total * total / n, 0.0)
    before = moment[N]
    if before == 0.0:
        moment[MEAN], moment[M2] = mean, spread
    else:
        away = mean - moment[MEAN]
        moment[MEAN] += away * (n / (before + n))
        moment[M2] += spread + away * away * (before * n / (before + n))
    moment[N] = before + n
    if before == 0.0 or least < moment[LOW]:
        moment[LOW] = least
    if before == 0.0 or most > moment[HIGH]:
        moment[HIGH], moment[AT] = most, most_at


@compiled(
    "void(int64[::1], float64[::1], int64[:, ::1], int64[::1], float64[:, :, ::1], int64, uint32[:, ::1], int64, int64,"
    " int64, float64[:, :, ::1], int64)",
)
def fold_metric(
    ts: NDArray[np.int64],
    values: NDArray[np.float64],
    found: NDArray[np.int64],
    minutes: NDArray[np.int64],
    moments: NDArray[np.float64],
    j: int,
    counts: NDArray[Any],
    start: int,
    end: int,
    low: int,
    pending: NDArray[Any],
    signals: int,
) -> None:
    """Add metric j of every call to its minute and quarter hour, which are `found`, and to the minute under way in row `signals`
    of `pending` (`signal.minutes`); what is not finite is passed over.
    """
    at, minute_rows, quarter_rows = found[0], found[1], found[2]
    size = end - start
    k = 0
    while k < len(ts):
        # The calls of one minute and quarter that stand together.
        row, quarter = minute_rows[k], quarter_rows[k]
        bins = counts[max(quarter, 0), start:end]
        n, first, total, squares, least, most, most_at = 0, 0.0, 0.0, 0.0, np.inf, -np.inf, 0
        places = 0
        while k < len(ts) and minute_rows[k] == row and quarter_rows[k] == quarter:
            i = np.uint64(at[k])
            k += 1
            value = values[i]
            if not math.isfinite(value):
                continue
            place = bin_of(value) - low
            if quarter >= 0 and 0 <= place < size:
                bins[np.uint64(place)] += np.uint32(1)
            if n == 0:
                first = value
            n += 1
            places += place
            away = value - first
            total += away
            squares += away * away
            least = min(least, value)
            if value > most:
                most, most_at = value, ts[i]
        if row >= 0:
            merge(moments[row, j], n, first, total, squares, least, most, float(most_at))
            if n > 0:
                summed = float(places + n * low) if j == 0 else first * n + total
                note(pending, signals, minutes[row], j, float(n), summed)


@compiled("void(uint8[::1], int64[:, ::1], float64[::1])")
def fold_failures(ok: NDArray[np.uint8], found: NDArray[np.int64], failures: NDArray[np.float64]) -> None:
    """Count every failed call in its minute."""
    for k in range(len(ok)):
        if ok[found[0, k]] == 0 and found[1, k] >= 0:
            failures[found[1, k]] += 1.0
