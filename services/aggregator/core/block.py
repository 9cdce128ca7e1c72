"""The block: every series of one minute, hour, day or more, as columns and one grouped sketch.

Owns the layout, and the three things that are done to blocks: merge several into one, keep some series, put series together
into groups. A block is immutable and knows neither its time nor any name: series are ids of a `Registry`. Blocks of any spans
merge into a block; sums, counts and sketches add, so merging in any order and grouping gives the same figures (sums to within
float rounding).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.sketch import BIN_BITS, BINS, add_up

Int32 = NDArray[np.int32]
Float64 = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]
Bool = NDArray[np.bool_]

#: Rows of `add`: what is summed. Counts are exact up to 2^53.
COUNT, ERRORS, SUM, CPU_SUM, CPU_N, MEMORY_SUM, MEMORY_N, DISK_SUM, DISK_N = range(9)
ADD_ROWS: Final = 9
#: Rows of `low`: what the smallest is kept of. Times are epoch ms.
MIN, FIRST_TS = range(2)
LOW_ROWS: Final = 2
#: Rows of `high`: what the largest is kept of; −inf = not measured.
MAX, LAST_TS, CPU_MAX, MEMORY_MAX, DISK_MAX = range(5)
HIGH_ROWS: Final = 5

_BIN_MASK: Final = BINS - 1


@dataclass(frozen=True, slots=True)
class Block:
    """Columns over `n` series, each with at least one call.

    series: int[n], ids, ascending.
    add: f64[9, n], low: f64[2, n], high: f64[5, n], rows as named above.
    keys: i32[m] ascending, counts: f64[m]: the grouped sketch of durations (`shared.sketch`), the group being the position in
    `series`.
    """

    series: Ints
    add: Float64
    low: Float64
    high: Float64
    keys: Int32
    counts: Float64

    def __len__(self) -> int:
        return len(self.series)

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        return 136 * len(self.series) + 12 * len(self.keys) + 600

    @property
    def calls(self) -> int:
        """Calls of all series."""
        return int(self.add[COUNT].sum())

    def validate(self) -> None:
        """Raises: AssertionError when the columns contradict each other; for tests and for what came from a disk."""
        n = len(self.series)
        assert self.add.shape == (ADD_ROWS, n)
        assert self.low.shape == (LOW_ROWS, n)
        assert self.high.shape == (HIGH_ROWS, n)
        assert len(self.keys) == len(self.counts)
        assert np.all(np.diff(self.series) > 0)
        assert np.all(np.diff(self.keys) > 0)
        assert np.all(self.counts > 0)
        assert not len(self.keys) or (self.keys[0] >= 0 and self.keys[-1] < n * BINS)
        per_series = np.bincount(self.keys >> BIN_BITS, self.counts, minlength=n)
        assert np.array_equal(per_series, self.add[COUNT])
        assert np.all(self.add[COUNT] >= 1)
        assert np.all(self.low[MIN] <= self.high[MAX])
        assert np.all(self.low[FIRST_TS] <= self.high[LAST_TS])


EMPTY: Final = Block(
    np.empty(0, np.int32),
    np.empty((ADD_ROWS, 0)),
    np.empty((LOW_ROWS, 0)),
    np.empty((HIGH_ROWS, 0)),
    np.empty(0, np.int32),
    np.empty(0),
)


def merge(blocks: Sequence[Block]) -> Block:
    """One block of everything in `blocks`. About 4 ns a sketch entry."""
    parts = [block for block in blocks if len(block.series)]
    if len(parts) <= 1:
        return parts[0] if parts else EMPTY
    first = parts[0].series
    if all(part.series is first or np.array_equal(part.series, first) for part in parts[1:]):
        series, places = first, None
    else:
        series = np.unique(np.concatenate([part.series for part in parts]))
        places = [np.searchsorted(series, part.series) for part in parts]
    add, low, high = _merge_columns(parts, places, len(series))
    keys = [
        part.keys if places is None else _moved(part.keys, places[at], len(series)) for at, part in enumerate(parts)
    ]
    merged = add_up(np.concatenate(keys), np.concatenate([part.counts for part in parts]), len(series) * BINS)
    return Block(series, add, low, high, *merged)


def select(block: Block, wanted: Bool) -> Block:
    """The block with those series alone whose id is wanted: bool[ids]; an id beyond it is not."""
    known = block.series < len(wanted)
    kept = known & wanted[np.where(known, block.series, 0)] if len(wanted) else np.zeros(len(block), np.bool_)
    if kept.all():
        return block
    places = np.cumsum(kept) - 1
    group = block.keys >> BIN_BITS
    chosen = kept[group]
    keys = (places[group[chosen]] << BIN_BITS) | (block.keys[chosen] & _BIN_MASK)
    return Block(
        block.series[kept],
        block.add[:, kept],
        block.low[:, kept],
        block.high[:, kept],
        keys.astype(np.int32),
        block.counts[chosen],
    )


def regroup(block: Block, group_of: Int32) -> Block:
    """The block with its series put together: group_of i32[ids] says which group each id belongs to. The `series` of the
    result are the groups that occur.
    """
    groups_here = group_of[block.series]
    if not len(groups_here):
        return EMPTY
    order = np.argsort(groups_here, kind="stable")
    ordered = groups_here[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    groups = ordered[starts]
    place = np.searchsorted(groups, groups_here)
    keys = (place[block.keys >> BIN_BITS] << BIN_BITS) | (block.keys & _BIN_MASK)
    return Block(
        groups,
        np.add.reduceat(block.add[:, order], starts, axis=1),
        np.minimum.reduceat(block.low[:, order], starts, axis=1),
        np.maximum.reduceat(block.high[:, order], starts, axis=1),
        *add_up(keys, block.counts, len(groups) * BINS),
    )


def _merge_columns(
    parts: Sequence[Block], places: Sequence[NDArray[np.intp]] | None, n: int
) -> tuple[Float64, Float64, Float64]:
    add = np.zeros((ADD_ROWS, n))
    low = np.full((LOW_ROWS, n), np.inf)
    high = np.full((HIGH_ROWS, n), -np.inf)
    for at, part in enumerate(parts):
        if places is None:
            add += part.add
            np.minimum(low, part.low, out=low)
            np.maximum(high, part.high, out=high)
        else:
            # A series occurs once in a block, so assignment through its places loses nothing.
            place = places[at]
            add[:, place] += part.add
            low[:, place] = np.minimum(low[:, place], part.low)
            high[:, place] = np.maximum(high[:, place], part.high)
    return add, low, high


def _moved(keys: Int32, place: NDArray[np.intp], n: int) -> Int32:
    if len(place) == n:
        return keys
    shift = ((place - np.arange(len(place))) << BIN_BITS).astype(np.int32)
    moved: Int32 = keys + shift[keys >> BIN_BITS]
    return moved
