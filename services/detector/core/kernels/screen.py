"""A first look at all windows of a tool at once: in most no call lies higher than those before, and they need no other.

What `sweeps.windows` makes window by window; `shift.compare` of each. Of busy tools from the rings of `state.calls` and the
quarter hours of `state.histograms`, without what idle time explains; of others from the calls as `sweeps.latest` gives them.
Knows arrays alone.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.bins import bin_of
from services.detector.core.kernels.compiled import compiled
from services.detector.core.kernels.shift import compare
from services.detector.core.kernels.spans import first_not_below

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


@compiled("int64(int64[::1], float64[::1], int64, int64, int64, int64[::1])", part=True)
def measured(ts: Int64, x: Float64, filled: int, following: int, end_ms: int, order: Int64) -> int:
    """Where the calls up to a time stand in the ring, in order of arrival, into `order`; how many. Without those not measured."""
    n = 0
    for j in range(filled):
        at = j if filled < len(ts) else (following + j) % len(ts)
        if ts[at] <= end_ms and math.isfinite(x[at]):
            order[n] = at
            n += 1
    return n


@compiled("int64(int64[::1], int64[::1], int64, int64)", part=True)
def idle_before(ts: Int64, order: Int64, calls: int, idle_ms: int) -> int:
    """How many of the first calls came so long after the one before."""
    idle = 0
    for i in range(1, calls):
        idle += 1 if ts[order[i]] - ts[order[i - 1]] >= idle_ms else 0
    return idle


@compiled("void(uint32[:, ::1], int64, int64, float64[::1])", part=True)
def add_rows(counts: NDArray[Any], first: int, end: int, total: Float64) -> None:
    """Add the first bins of quarter hours `first` … `end` − 1."""
    for row in range(first, end):
        for i in range(len(total)):
            total[i] += counts[row, i]


@compiled("void(float64[::1], float64[::1], float64[::1], float64[::1])", part=True)
def compare_with_rest(recent: Float64, whole: Float64, rest: Float64, out: Float64) -> None:
    """z and by how much `recent` lies higher than what is left of `whole`, into `out`; how many calls each of them has."""
    for i in range(len(whole)):
        rest[i] = max(whole[i] - recent[i], 0.0)
    out[0], out[1], _ = compare(recent, rest)
    out[2], out[3] = recent.sum(), rest.sum()


@compiled(
    "int64(int64[::1], float64[::1], int64, int64, int64, int64, int64, int64[::1], int64, uint32[:, ::1], int64, int64,"
    " int64, int64[::1], int64[::1], int64, int64, int64, float64[:, ::1])"
)
def compare_all(
    ts: Int64,
    x: Float64,
    filled: int,
    following: int,
    end_ms: int,
    since_ms: int,
    idle_ms: int,
    quarters: Int64,
    quarters_filled: int,
    counts: NDArray[Any],
    size: int,
    low: int,
    last: int,
    windows_of_calls: Int64,
    windows_of_quarters: Int64,
    day: int,
    fewest_before: int,
    learned_parts: int,
    out: Float64,
) -> int:
    """Compare the latest calls up to `end_ms`, and the latest quarter hours up to number `last`, of each window with all other
    calls of `day` quarter hours: (z, by how much higher, calls, calls before) into `out` f64[windows, 4] of zeros, which a
    window that there is not leaves. How many of the calls, but the latest of `learned_parts` parts, came after `idle_ms`
    without one.

    Windows of calls, ascending, begin at or after `since_ms` and have `fewest_before` calls before them. `counts` has the
    quarter hours' bins in its first `size` columns, the first bin being number `low`.
    """
    order = np.empty(filled, np.int64)
    n = measured(ts, x, filled, following, end_ms, order)
    whole, recent, rest = np.zeros(size), np.zeros(size), np.empty(size)
    end = first_not_below(quarters, quarters_filled, last + 1)
    add_rows(counts, first_not_below(quarters, quarters_filled, last - day), end, whole)
    at = n
    for number in range(len(windows_of_calls)):
        first = n - windows_of_calls[number]
        if first < fewest_before or ts[order[first]] < since_ms:
            break
        while at > first:
            at -= 1
            recent[min(max(bin_of(x[order[at]]) - low, 0), size - 1)] += 1.0
        compare_with_rest(recent, whole, rest, out[number])
    recent = np.zeros(size)
    for number in range(len(windows_of_quarters)):
        first = first_not_below(quarters, quarters_filled, last - windows_of_quarters[number])
        add_rows(counts, first, end, recent)
        end = min(first, end)
        compare_with_rest(recent, whole, rest, out[len(windows_of_calls) + number])
    return int(idle_before(ts, order, n - n // learned_parts, idle_ms))


@compiled("void(int64[::1], int64[::1], int64, int64, float64[::1])", part=True)
def count(bins: Int64, chosen: Int64, first: int, end: int, total: Float64) -> None:
    """The bins of the chosen ones from number `first` to `end` − 1."""
    for i in range(len(total)):
        total[i] = 0.0
    for k in range(first, end):
        total[bins[chosen[k]]] += 1.0


@compiled("void(int64[::1], int64[::1], int64, int64, int64[::1], int64, int64, float64[:, :, ::1])")
def compare_latest(
    bins: Int64, usual: Int64, size: int, from_number: int, windows: Int64, right_before: int, twice: int, out: Float64
) -> None:
    """Compare the latest calls of each window (ascending) with the usual ones before, with the latest `right_before` of these,
    and with `twice` as many of them as the window has, at least `right_before`: (z, by how much higher) into `out`
    f64[windows, 3, 2] of zeros, which what there is not leaves. `usual`: numbers of the usual calls, ascending; windows begin
    with call number `from_number` at the earliest.
    """
    recent, before, every = np.empty(size), np.empty(size), np.arange(len(bins))
    for number in range(len(windows)):
        first = len(bins) - windows[number]
        if first < from_number:
            return
        earlier = first_not_below(usual, len(usual), first)
        count(bins, every, first, len(bins), recent)
        for kind in range(3):
            calls = earlier
            if kind > 0:
                calls = right_before if kind == 1 else max(right_before, twice * windows[number])
                if calls >= earlier:
                    continue
            count(bins, usual, earlier - calls, earlier, before)
            out[number, kind, 0], out[number, kind, 1], _ = compare(recent, before)
