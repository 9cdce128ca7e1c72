"""Open the minute and the quarter hour that calls begin: what comes a thousand times a second when there are thousands of tools.

What is not simple (late calls, calls of many minutes, a new hour, tables that may grow, a minute under way that has to be judged
first) is left to `state.series`. Knows arrays alone, as in `kernels.fold`; `pending` and `heads`: as in `signal.minutes`.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled
from services.detector.core.signal.pending import MINUTE, SLOTS

Int64 = NDArray[np.int64]

_MINUTE = 60_000
_QUARTER_MINUTES = 15
_HOUR_MINUTES = 60
#: Minutes that calls taken at once may be apart.
_APART: Final = SLOTS - 1
#: Column of `heads` with the latest minute that was judged.
_JUDGED = 0
#: In the place of a number of rows: there is none, and a table may grow.
NONE: Final = -1


@compiled("UniTuple(int64, 2)(int64[::1], int64, int64, int64, int64, int64)", part=True)
def rows_to_go(index: Int64, filled: int, key: int, keep: int, growth_bytes: int, spare_bytes: int) -> tuple[int, int]:
    """How many of the oldest rows must go for `key` to have one, and up to which key rows are forgotten for want of room (−1:
    none are). NONE rows when the table may grow instead. As `state.rows` does it.
    """
    if filled < len(index):
        return 0, -1
    old = 0
    while old < filled and index[old] <= key - keep:
        old += 1
    if old > 0:
        return old, -1
    if 0 < growth_bytes <= spare_bytes:
        return NONE, -1
    gone = max(1, len(index) // 4)
    return gone, index[gone - 1]


@compiled("void(int64[::1], float64[:, :, ::1], float64[::1], int64, int64)", part=True)
def drop_minutes(minutes: Int64, moments: NDArray[Any], failures: NDArray[np.float64], filled: int, gone: int) -> None:
    """Take the `gone` oldest rows away."""
    for row in range(filled):
        left = row + gone < filled
        minutes[row] = minutes[row + gone] if left else 0
        failures[row] = failures[row + gone] if left else 0.0
        for j in range(moments.shape[1]):
            for k in range(moments.shape[2]):
                moments[row, j, k] = moments[row + gone, j, k] if left else 0.0


@compiled("void(int64[::1], uint32[:, ::1], int64, int64)", part=True)
def drop_quarters(quarters: Int64, counts: NDArray[Any], filled: int, gone: int) -> None:
    """Likewise."""
    for row in range(filled):
        left = row + gone < filled
        quarters[row] = quarters[row + gone] if left else 0
        for k in range(counts.shape[1]):
            counts[row, k] = counts[row + gone, k] if left else np.uint32(0)


@compiled(
    "UniTuple(int64, 5)(int64[::1], int64[::1], int64, int64, float64[:, :, ::1], float64[::1], int64[::1], int64, int64,"
    " uint32[:, ::1], float64[:, :, ::1], int64[:, ::1], int64, int64, int64, int64[::1])",
    part=True,
)
def open_rows(
    ts: Int64,
    minutes: Int64,
    filled: int,
    forgotten: int,
    moments: NDArray[Any],
    failures: NDArray[np.float64],
    quarters: Int64,
    quarters_filled: int,
    quarters_forgotten: int,
    counts: NDArray[Any],
    pending: NDArray[Any],
    heads: Int64,
    signals: int,
    hour: int,
    spare_bytes: int,
    limits: Int64,
) -> tuple[int, int, int, int, int]:
    """Give the minutes of calls that are later than all others a row, likewise their quarter hours, and open them for the
    signals. (minutes filled and forgotten, quarters filled and forgotten, 1 unless something was left). `limits` i64[4]: most
    minutes, how many are wanted, most quarters, how many are wanted.
    """
    first = ts[0] // _MINUTE
    for i in range(len(ts)):
        minute = ts[i] // _MINUTE
        if filled > 0 and minute <= minutes[filled - 1]:
            continue
        at = minute % SLOTS
        under_way = int(pending[signals, at, MINUTE])
        awaited = minute > heads[signals, _JUDGED] and under_way < minute
        apart = abs(minute - first) >= _APART or minute // _HOUR_MINUTES != hour
        none_yet = quarters_filled == 0 and (len(quarters) > 0 or 8 + 4 * counts.shape[1] <= spare_bytes)
        if filled == 0 or none_yet or apart or (awaited and under_way > 0):
            return filled, forgotten, quarters_filled, quarters_forgotten, 0
        quarter = minute // _QUARTER_MINUTES
        wanted = quarters_filled > 0 and quarter > quarters[quarters_filled - 1]
        most = min(limits[0], 2 * len(minutes)) - len(minutes)
        gone, up_to = rows_to_go(minutes, filled, minute, limits[1], most * 8 * (2 + moments[0].size), spare_bytes)
        gone_quarters, quarters_up_to = 0, -1
        if wanted:
            most = min(limits[2], 2 * len(quarters)) - len(quarters)
            gone_quarters, quarters_up_to = rows_to_go(
                quarters, quarters_filled, quarter, limits[3], most * (8 + 4 * counts.shape[1]), spare_bytes
            )
        if gone < 0 or gone_quarters < 0:
            return filled, forgotten, quarters_filled, quarters_forgotten, 0
        if gone > 0:
            drop_minutes(minutes, moments, failures, filled, gone)
            filled -= gone
            forgotten = max(forgotten, up_to)
        if gone_quarters > 0:
            drop_quarters(quarters, counts, quarters_filled, gone_quarters)
            quarters_filled -= gone_quarters
            quarters_forgotten = max(quarters_forgotten, quarters_up_to)
        minutes[filled] = minute
        filled += 1
        if wanted:
            quarters[quarters_filled] = quarter
            quarters_filled += 1
        if awaited:
            pending[signals, at, MINUTE] = minute
    return filled, forgotten, quarters_filled, quarters_forgotten, 1
