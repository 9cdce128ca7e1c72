"""A batch's calls sorted by series, and everything that is done with the calls of one series, in one call each.

What a call of a compiled function costs, and what Python does around it, is paid once a series and batch this way. Knows
arrays alone; `state.series` makes room, `engine` takes what happened.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.baseline import RATE
from services.detector.core.kernels.bins import EDGES
from services.detector.core.kernels.compiled import compiled
from services.detector.core.kernels.errors import judge_failures
from services.detector.core.kernels.fold import all_fit, find_rows, fold_failures, fold_metric
from services.detector.core.kernels.judge import HAPPENING as JUDGE_HAPPENING
from services.detector.core.kernels.judge import judge
from services.detector.core.kernels.opening import open_rows

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]
UInt8 = NDArray[np.uint8]

#: A happening is its stage and what the stage's kernel wrote.
HAPPENING: Final = 1 + JUDGE_HAPPENING
#: Stages: nothing done yet, likewise though not everything has a place, a metric's judging (its number), the failures', the end.
NEW, FORCED = -1, -2
FAILURES, DONE = 4, 5
#: In the place of the number of happenings: nothing was done, for something must grow first.
GROW = -1


@compiled(
    "void(uint32[::1], int64[::1], int64[::1], uint8[::1], float64[::1], float64[::1], float64[::1], float64[::1],"
    " int64[::1], uint8[::1], float64[:, ::1])",
)
def sort_calls(
    codes: NDArray[np.uint32],
    next_of: Int64,
    ts: Int64,
    ok: UInt8,
    duration: Float64,
    cpu: Float64,
    memory: Float64,
    disk_io: Float64,
    ts_out: Int64,
    ok_out: UInt8,
    x_out: Float64,
) -> None:
    """Counting sort by code, stable: `next_of` i64[codes] is where each code's rows begin and ends where they end. A column
    without rows was not measured, NaN; `x_out` f64[1 or 4, n] without more than a row has no place for it.
    """
    wide = x_out.shape[0] > 1
    has_cpu, has_memory, has_disk_io = len(cpu) > 0, len(memory) > 0, len(disk_io) > 0
    for i in range(len(codes)):
        code = codes[i]
        to = next_of[code]
        next_of[code] = to + 1
        ts_out[to] = ts[i]
        ok_out[to] = ok[i]
        x_out[0, to] = duration[i]
        if wide:
            x_out[1, to] = cpu[i] if has_cpu else np.nan
            x_out[2, to] = memory[i] if has_memory else np.nan
            x_out[3, to] = disk_io[i] if has_disk_io else np.nan


@compiled(
    "UniTuple(int64, 3)(int64[::1], float64[:, ::1], uint8[::1], int64, int64,"
    " int64[::1], float64[:, ::1], uint8[::1], int64, int64)",
)
def keep_calls(
    ts: Int64,
    x: Float64,
    ok: UInt8,
    first: int,
    end: int,
    kept_ts: Int64,
    kept_x: Float64,
    kept_ok: UInt8,
    filled: int,
    following: int,
) -> tuple[int, int, int]:
    """Put calls `first` … `end` − 1 into the ring of the latest ones, which holds `filled` and goes on at `following`. (how many
    it holds now, where it goes on, the latest time of a call that went, −1 for none). Metrics that `x` lacks are not measured.
    """
    room, dropped = len(kept_ts), -1
    cut = max(first, end - room)
    for t in ts[first:cut]:
        dropped = max(dropped, t)
    left = cut
    while left < end:
        # A stretch up to the ring's end.
        n = min(end - left, room - following)
        if filled == room:
            for t in kept_ts[following : following + n]:
                dropped = max(dropped, t)
        # Loops, for numba compiles an assignment to a slice for two seconds.
        to_ts, from_ts = kept_ts[following : following + n], ts[left : left + n]
        to_ok, from_ok = kept_ok[following : following + n], ok[left : left + n]
        for i in range(n):
            to_ts[i] = from_ts[i]
            to_ok[i] = from_ok[i]
        for j in range(kept_x.shape[0]):
            to_x, from_x = kept_x[j, following : following + n], x[min(j, x.shape[0] - 1), left : left + n]
            measured = j < x.shape[0]
            for i in range(n):
                to_x[i] = from_x[i] if measured else np.nan
        left += n
        filled = max(filled, following + n)
        following = (following + n) % room
    return filled, following, dropped


@compiled("boolean(float64[:], int64, int64)", part=True)
def all_have_bins(values: Float64, low: int, size: int) -> bool:
    """Whether every finite value falls into bins low … low + size − 1; none does without bins."""
    if size == 0:
        return all_fit(values, 0.0, 0.0)
    return all_fit(values, -np.inf if low == 0 else EDGES[low], EDGES[low + size])


@compiled(
    "UniTuple(int64, 12)(int64[::1], float64[:, ::1], uint8[::1], int64, int64, int64, int64,"
    " int64[::1], int64, int64, float64[:, :, ::1], float64[::1], int64[::1], int64, int64, uint32[:, ::1],"
    " int64[::1], int64[::1], float32[::1], float64[:, ::1], float64[::1],"
    " int64[::1], float64[:, ::1], uint8[::1], int64, int64, float64[:, :, ::1], int64[:, ::1], int64, int64, int64,"
    " int64[::1], float64[:, ::1], int64[:, ::1], float64[:, ::1])",
)
def absorb(  # noqa: C901 - one call a series is the point; each step is a function
    batch_ts: Int64,
    batch_x: Float64,
    batch_ok: UInt8,
    first: int,
    end: int,
    stage: int,
    row: int,
    minutes: Int64,
    filled: int,
    forgotten: int,
    moments: NDArray[np.float64],
    failures: Float64,
    quarters: Int64,
    quarters_filled: int,
    quarters_forgotten: int,
    counts: NDArray[Any],
    starts: Int64,
    lows: Int64,
    base: NDArray[np.float32],
    tracks: Float64,
    run: Float64,
    kept_ts: Int64,
    kept_x: Float64,
    kept_ok: UInt8,
    kept: int,
    following: int,
    pending: NDArray[Any],
    heads: Int64,
    signals: int,
    hour: int,
    spare_bytes: int,
    limits: Int64,
    margins: Float64,
    work: Int64,
    out: Float64,
) -> tuple[int, int, int, int, int, int, int, int, int, int, int, int]:
    """Fold the calls `first` … `end` − 1 of one series in, and judge them. `stage` and `row` say where to go on: NEW first.

    (happenings in `out` f64[≥ 2, HAPPENING] or GROW; stage and row to go on from; earliest and latest ts; what `keep_calls`
    returned; rows filled and forgotten of minutes and of quarter hours). With GROW no call was taken: make room, then come with
    FORCED, which passes over what still has no place. `work` i64[3, ≥ calls] is room to work in, `hour` that of the bands,
    `spare_bytes` and `limits` as for `open_rows`; the others are the series' own.
    """
    ts, ok = batch_ts[first:end], batch_ok[first:end]
    metrics = min(batch_x.shape[0], tracks.shape[0])
    earliest, latest, dropped = -1, -1, -1
    rows = filled, forgotten, quarters_filled, quarters_forgotten
    if stage < 0:
        if stage == NEW:
            room = len(kept_ts)
            may_grow = room < 1024 and room * (9 + 8 * kept_x.shape[0]) <= spare_bytes
            whole = kept + len(ts) <= room or not may_grow
            for j in range(batch_x.shape[0]):
                size = starts[j + 1] - starts[j] if j < metrics else 0
                whole = whole and all_have_bins(batch_x[j, first:end], lows[j] if size else -1, size)
            if not whole:
                return GROW, FORCED, row, earliest, latest, kept, following, dropped, *rows
            filled, forgotten, quarters_filled, quarters_forgotten, opened = open_rows(
                ts,
                minutes,
                filled,
                forgotten,
                moments,
                failures,
                quarters,
                quarters_filled,
                quarters_forgotten,
                counts,
                pending,
                heads,
                signals,
                hour,
                spare_bytes,
                limits,
            )
            rows = filled, forgotten, quarters_filled, quarters_forgotten
        whole = find_rows(ts, minutes, filled, quarters, quarters_filled, work)
        if stage == NEW and not (whole and opened):
            return GROW, FORCED, row, earliest, latest, kept, following, dropped, *rows
        earliest = latest = ts[0]
        for i in range(len(ts)):
            earliest, latest = min(earliest, ts[i]), max(latest, ts[i])
        for j in range(metrics):
            fold_metric(
                ts,
                batch_x[j, first:end],
                work,
                minutes,
                moments,
                j,
                counts,
                starts[j],
                starts[j + 1],
                lows[j],
                pending,
                signals,
            )
        fold_failures(ok, work, failures)
        kept, following, dropped = keep_calls(
            batch_ts, batch_x, batch_ok, first, end, kept_ts, kept_x, kept_ok, kept, following
        )
        stage, row = 0, 0
    found = 0
    while stage < metrics:
        if lows[stage] >= 0:
            more, row = judge(
                ts,
                batch_x[stage, first:end],
                base[starts[stage] : starts[stage + 1]],
                lows[stage],
                tracks[stage],
                margins[stage, 0],
                margins[stage, 1],
                out[found:, 1:],
                row,
            )
            for i in range(found, found + more):
                out[i, 0] = stage
            found += more
            if row < len(ts):
                return found, stage, row, earliest, latest, kept, following, dropped, *rows
        stage, row = stage + 1, 0
    stage = FAILURES
    # One at a time, for what follows depends on since when failures are dated.
    more, row = judge_failures(ts, ok, run, tracks[0, RATE], out[found : found + 2, 1:], row)
    for i in range(found, found + more):
        out[i, 0] = FAILURES
    found += more
    if row == len(ts):
        stage = DONE
    return found, stage, row, earliest, latest, kept, following, dropped, *rows
