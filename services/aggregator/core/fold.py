"""Fold the rows of a batch into blocks of minutes.

Everything is one stable sort by (minute, series) and reductions over its runs, so late rows and many minutes in a batch cost
nothing extra: 30–60 ns a row for large batches. Knows nothing of what is already stored; the caller merges.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.aggregator.core.block import (
    ADD_ROWS,
    COUNT,
    CPU_MAX,
    CPU_N,
    CPU_SUM,
    DISK_MAX,
    DISK_N,
    DISK_SUM,
    ERRORS,
    FIRST_TS,
    HIGH_ROWS,
    LAST_TS,
    LOW_ROWS,
    MAX,
    MEMORY_MAX,
    MEMORY_N,
    MEMORY_SUM,
    MIN,
    SUM,
    Block,
    Float64,
    Int32,
)
from shared.batch import Batch
from shared.sketch import BIN_BITS, BINS, add_up, bin_of
from shared.timespan import MINUTE_MS

#: Times that a file's name can carry: 1970 to the end of 9998.
LAST_MOMENT_MS: Final = 253_370_764_800_000

_RESOURCES: Final = (
    ("cpu", CPU_SUM, CPU_N, CPU_MAX),
    ("memory", MEMORY_SUM, MEMORY_N, MEMORY_MAX),
    ("disk_io", DISK_SUM, DISK_N, DISK_MAX),
)
#: Cells up to which their numbers fit the radix sort of 16-bit integers.
_RADIX_CELLS: Final = 1 << 16
#: Minutes up to which a batch's cells are numbered without looking which of them occur.
_PLAIN_MINUTES: Final = 4_096


class Unfoldable(ValueError):
    """A batch with values that ingest lets nobody store; the message names the column."""


def check(batch: Batch) -> None:
    """Refuse what would spoil a rollup for good: three passes, under 1 ns a row.

    Raises: Unfoldable.
    """
    if not len(batch):
        return
    if not (batch.duration.min() >= 0 and batch.duration.max() < np.inf):
        raise Unfoldable("a duration is negative, infinite or not a number")
    if batch.ts.min() < 0 or batch.ts.max() >= LAST_MOMENT_MS:
        raise Unfoldable("a timestamp is outside 1970 to 9998")
    for name, *_ in _RESOURCES:
        column = batch.resource(name)
        if column is not None and np.fmax.reduce(np.abs(column), initial=0.0) == np.inf:
            raise Unfoldable(f"a value of {name} is infinite")


def sound_rows(batch: Batch) -> Batch:
    """The rows that `check` has nothing against; for what was read back from files that anybody may have edited."""
    good = (batch.duration >= 0) & (batch.duration < np.inf) & (batch.ts >= 0) & (batch.ts < LAST_MOMENT_MS)
    for name, *_ in _RESOURCES:
        column = batch.resource(name)
        if column is not None:
            good &= ~np.isinf(column)
    return batch if good.all() else batch.take(good)


def fold(batch: Batch, ids: Int32) -> list[tuple[int, Block]]:
    """(start of the minute, its block), ascending. `ids` gives the series id of each code of the batch's dictionary."""
    if not len(batch):
        return []
    series, rank = np.unique(ids, return_inverse=True)
    minutes, cells = _cells(batch, rank, len(series))
    whole = fold_cells(batch, cells, _order(cells, len(minutes) * len(series)))
    return _split(whole, minutes, series)


def fold_cells(batch: Batch, cells: NDArray[np.int64], order: NDArray[np.intp]) -> Block:
    """The block of a batch with at least one row whose "series" are cells: any number from 0 for each row. `order` sorts the
    rows by cell.
    """
    ordered = cells[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    duration = batch.duration[order]
    columns = _columns(batch, order, starts, duration)
    columns[0][ERRORS] = _errors(batch, cells, ordered[starts])
    return Block(ordered[starts], *columns, *_sketch(duration, starts))


def _cells(batch: Batch, rank: NDArray[np.intp], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The minutes that occur or lie between (epoch minutes), and the cell of each row: minute's place * width + series."""
    minute = batch.ts // MINUTE_MS
    first, last = int(minute.min()), int(minute.max())
    if last - first < _PLAIN_MINUTES:
        minutes = np.arange(first, last + 1, dtype=np.int64)
        place = minute - first
    else:
        minutes, inverse = np.unique(minute, return_inverse=True)
        place = inverse.astype(np.int64)
    place *= width
    place += rank[batch.codes]
    return minutes, place


def _order(cells: NDArray[np.int64], bound: int) -> NDArray[np.intp]:
    small = cells.astype(np.uint16) if bound <= _RADIX_CELLS else cells
    return np.argsort(small, kind="stable")


def _errors(batch: Batch, cells: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.int64]:
    """Failed calls of each cell that was found (ascending); they are few."""
    failed = np.flatnonzero(batch.ok == 0)
    return np.bincount(np.searchsorted(found, cells[failed]), minlength=len(found))


def _columns(
    batch: Batch, order: NDArray[np.intp], starts: NDArray[np.intp], duration: Float64
) -> tuple[Float64, Float64, Float64]:
    groups = len(starts)
    add = np.zeros((ADD_ROWS, groups))
    low = np.empty((LOW_ROWS, groups))
    high = np.full((HIGH_ROWS, groups), -np.inf)
    ts = batch.ts[order]
    add[COUNT] = np.diff(np.append(starts, len(order)))
    add[SUM] = np.add.reduceat(duration, starts)
    low[MIN], high[MAX] = np.minimum.reduceat(duration, starts), np.maximum.reduceat(duration, starts)
    low[FIRST_TS], high[LAST_TS] = np.minimum.reduceat(ts, starts), np.maximum.reduceat(ts, starts)
    for name, total, measured, most in _RESOURCES:
        column = batch.resource(name)
        if column is not None:
            add[measured] = add[COUNT]
            _resource(column[order], starts, add[total], add[measured], high[most])
    return add, low, high


def _resource(column: Float64, starts: NDArray[np.intp], total: Float64, measured: Float64, most: Float64) -> None:
    missing = np.isnan(column)
    without, lowest = column, column
    if missing.any():
        without, lowest = np.where(missing, 0.0, column), np.where(missing, -np.inf, column)
        measured[:] = np.add.reduceat(~missing, starts, dtype=np.int64)
    total[:] = np.add.reduceat(without, starts)
    most[:] = np.maximum.reduceat(lowest, starts)


def _sketch(duration: Float64, starts: NDArray[np.intp]) -> tuple[Int32, Float64]:
    keys = bin_of(duration).astype(np.int64)
    per_group = np.diff(np.append(starts, len(duration)))
    keys += np.repeat(np.arange(len(starts), dtype=np.int64) << BIN_BITS, per_group)
    return add_up(keys, None, len(starts) * BINS)


def _split(whole: Block, minutes: NDArray[np.int64], series: Int32) -> list[tuple[int, Block]]:
    """Cut a block of cells into one block a minute; copies, so that no part holds the whole in memory."""
    width = len(series)
    places, firsts = np.unique(whole.series // width, return_index=True)
    bounds: NDArray[Any] = np.append(firsts, len(whole))
    key_bounds = np.searchsorted(whole.keys, bounds.astype(np.int64) << BIN_BITS)
    found = []
    for at, place in enumerate(places):
        groups = slice(int(bounds[at]), int(bounds[at + 1]))
        entries = slice(int(key_bounds[at]), int(key_bounds[at + 1]))
        block = Block(
            series[whole.series[groups] % width],
            whole.add[:, groups].copy(),
            whole.low[:, groups].copy(),
            whole.high[:, groups].copy(),
            whole.keys[entries] - np.int32(groups.start << BIN_BITS),
            whole.counts[entries].copy(),
        )
        found.append((int(minutes[place]) * MINUTE_MS, block))
    return found
