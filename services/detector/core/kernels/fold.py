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

#: Columns of `moments`: count, mean, sum of squared deviations from the mean, smallest, largest, ts of the largest.
N, MEAN, M2, LOW, HIGH, AT = range(6)
MOMENTS: Final = 6

_MINUTE = 60_000
_QUARTER = 900_000


@compiled("int64(int64[:], float64[:, :], int64, int64, int64, int64, float64[:, :])")
def scan(
    ts: NDArray[np.int64],
    x: NDArray[np.float64],
    first_minute: int,
    last_minute: int,
    first_quarter: int,
    last_quarter: int,
    fits: NDArray[np.float64],
) -> int:
    """0 when all rows lie in the newest minute and quarter that there are and all values in the bins that there are, so that
    nothing has to grow; else 1. `fits` f64[metrics of the series, 2]: from and below which values have a bin.
    """
    for i in range(len(ts)):
        minute = ts[i] // _MINUTE
        quarter = ts[i] // _QUARTER
        if minute < first_minute or minute > last_minute or quarter < first_quarter or quarter > last_quarter:
            return 1
    for j in range(x.shape[0]):
        for i in range(x.shape[1]):
            value = x[j, i]
            if math.isfinite(value) and (j >= fits.shape[0] or value < fits[j, 0] or value >= fits[j, 1]):
                return 1
    return 0


@compiled("int64(int64[:], int64, int64, int64)")
def row_of(times: NDArray[np.int64], filled: int, near: int, wanted: int) -> int:
    """The row of a time among `filled` ascending ones, looked for from row `near` on; −1 when there is none."""
    at = max(0, min(near, filled - 1))
    while at < filled - 1 and times[at] < wanted:
        at += 1
    while at > 0 and times[at] > wanted:
        at -= 1
    return at if filled > 0 and times[at] == wanted else -1


@compiled("void(float64[:, :, :], int64, int64, float64, int64)")
def add_moment(moments: NDArray[np.float64], m: int, j: int, value: float, t: int) -> None:
    """Add a value to a minute's summary (Welford's update)."""
    n = moments[m, j, 0] + 1.0
    moments[m, j, 0] = n
    delta = value - moments[m, j, 1]
    moments[m, j, 1] += delta / n
    moments[m, j, 2] += delta * (value - moments[m, j, 1])
    if n == 1.0 or value < moments[m, j, 3]:
        moments[m, j, 3] = value
    if n == 1.0 or value > moments[m, j, 4]:
        moments[m, j, 4] = value
        moments[m, j, 5] = float(t)


@compiled(
    "void(int64[:], float64[:, :], uint8[:], int64[:], int64, float64[:, :, :], float64[:],"
    " int64[:], int64, uint32[:, :], int64[:], int64[:])",
)
def fold(
    ts: NDArray[np.int64],
    x: NDArray[np.float64],
    ok: NDArray[np.uint8],
    minutes: NDArray[np.int64],
    filled: int,
    moments: NDArray[np.float64],
    failures: NDArray[np.float64],
    quarters: NDArray[np.int64],
    rows: int,
    counts: NDArray[Any],
    starts: NDArray[np.int64],
    lows: NDArray[np.int64],
) -> None:
    """Add every call to its minute and its quarter hour; calls without a row are passed over, values that are not finite too.
    O(1) a value.
    """
    near_m = filled - 1
    near_q = rows - 1
    metrics = min(x.shape[0], len(lows))
    for i in range(len(ts)):
        m = row_of(minutes, filled, near_m, ts[i] // _MINUTE)
        q = row_of(quarters, rows, near_q, ts[i] // _QUARTER)
        near_m = m if m >= 0 else near_m
        near_q = q if q >= 0 else near_q
        if m >= 0 and ok[i] == 0:
            failures[m] += 1.0
        for j in range(metrics):
            value = x[j, i]
            if not math.isfinite(value):
                continue
            if m >= 0:
                add_moment(moments, m, j, value, ts[i])
            place = starts[j] + bin_of(value) - lows[j]
            if q >= 0 and starts[j] <= place < starts[j + 1]:
                counts[q, place] += np.uint32(1)
