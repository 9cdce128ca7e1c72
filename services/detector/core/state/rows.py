"""Rows in ascending order of an integer key, in arrays that grow: minutes and quarter hours of a series.

Rows are contiguous from index 0 to `filled`, so kernels and queries take plain slices. Late keys are inserted where they
belong. Knows nothing of what the columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.state.budget import Budget

Int64 = NDArray[np.int64]
#: Of every column its type and the shape of a row of it.
Layout = tuple[tuple[type, tuple[int, ...]], ...]

#: A table that cannot grow forgets this share of its rows at once, so that it is not done for every row.
FORGOTTEN_SHARE: Final = 0.25
_KEY_BYTES: Final = 8


@cache
def row_bytes(layout: Layout) -> int:
    """Bytes of a row and its key."""
    return _KEY_BYTES + sum(np.dtype(kind).itemsize * prod(shape) for kind, shape in layout)


@cache
def _places(layout: Layout) -> tuple[tuple[type, tuple[int, ...], int], ...]:
    """Type, shape and place of every column, the latter in bytes for each row of the table."""
    return tuple((kind, shape, row_bytes(layout[:number])) for number, (kind, shape) in enumerate(layout))


class SortedRows:
    """`index` i64[capacity] and `columns`, arrays whose first axis is the row: views of one block of memory, for an array of
    its own takes a hundred bytes more, and there are thousands of series.
    """

    __slots__ = ("budget", "capacity", "filled", "forgotten", "keep", "layout", "limit", "room")

    def __init__(self, capacity: int, layout: Layout, limit: int, keep: int, budget: Budget) -> None:
        """`limit`: most rows; `keep`: how far behind the newest key a row is still wanted."""
        self.layout = layout
        self.capacity = capacity
        self.room = bytearray(capacity * row_bytes(layout))
        self.filled = 0
        self.limit = limit
        self.keep = keep
        self.budget = budget
        #: Rows up to this key were forgotten for want of room.
        self.forgotten = -1

    @property
    def index(self) -> Int64:
        """The keys, ascending up to `filled`."""
        return np.ndarray(self.capacity, np.int64, self.room)

    @property
    def columns(self) -> list[NDArray[Any]]:
        """All columns."""
        return [self.column(number) for number in range(len(self.layout))]

    def views(self) -> Iterator[NDArray[Any]]:
        """Keys and columns."""
        capacity, room = self.capacity, self.room
        yield np.ndarray(capacity, np.int64, room)
        for kind, shape, at in _places(self.layout):
            yield np.ndarray((capacity, *shape), kind, room, at * capacity)

    def column(self, number: int) -> NDArray[Any]:
        """One column; good until rows are added or taken away."""
        kind, shape, at = _places(self.layout)[number]
        return np.ndarray((self.capacity, *shape), kind, self.room, at * self.capacity)

    @property
    def newest(self) -> int:
        """The largest key, −1 without rows."""
        return int(self.index[self.filled - 1]) if self.filled else -1

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        return len(self.room)

    def between(self, first: int, last: int) -> slice:
        """The rows with first ≤ key ≤ last."""
        keys = self.index[: self.filled]
        return slice(*keys.searchsorted((first, last + 1)).tolist())

    def rows_of(self, keys: Int64) -> tuple[NDArray[np.bool_], Int64]:
        """Which keys (ascending) have a row, and the rows of those."""
        present = self.index[: self.filled]
        rows = np.searchsorted(present, keys)
        there = rows < self.filled
        there[there] = present[rows[there]] == keys[there]
        return there, rows[there]

    def make_room(self, keys: Int64) -> None:
        """Give every key (ascending, unique) a row of zeros unless it has one or is too old to be wanted."""
        if len(keys) == 1 and self.filled < self.capacity and keys[0] > self.newest:
            self.index[self.filled] = keys[0]  # the next minute of a tool that is watched
            self.filled += 1
            return
        newest = max(self.newest, int(keys[-1]))
        wanted = keys[keys > newest - self.keep]
        # Mostly they are all later than what is here.
        new = wanted if int(keys[0]) > self.newest else wanted[~self.rows_of(wanted)[0]]
        if not len(new):
            return
        self._reserve(len(new), newest)
        excess = self.filled + len(new) - self.capacity
        if not self.capacity:
            self.forgotten = max(self.forgotten, newest)
            return
        if excess > 0:
            new = self._forget(new, excess)
        if len(new):
            self._insert(new)

    def drop_before(self, key: int) -> None:
        """Forget the rows with smaller keys."""
        cut = int(np.searchsorted(self.index[: self.filled], key, "left"))
        if not cut:
            return
        left = self.filled - cut
        for array in (self.index, *self.columns):
            array[:left] = array[cut : self.filled].copy()
            array[left : self.filled] = 0
        self.filled = left

    def halve(self, least: int) -> None:
        """Give half of the rows' room back, the oldest rows with it, down to `least`."""
        capacity = max(least, self.capacity // 2)
        if capacity >= self.capacity:
            return
        if self.filled > capacity:
            last = int(self.index[self.filled - capacity - 1])
            self.forgotten = max(self.forgotten, last)
            self.drop_before(last + 1)
        before = self.size_bytes
        self._resize(capacity)
        self.budget.force(self.size_bytes - before)

    def lay_out(self, layout: Layout) -> list[NDArray[Any]]:
        """Make the columns anew, empty, with the same keys; the old ones, to be copied from."""
        before, index = self.columns, self.index
        self.layout = layout
        self.room = bytearray(self.capacity * row_bytes(layout))
        self.index[:] = index
        return before

    def _reserve(self, more: int, newest: int) -> None:
        if self.filled + more <= self.capacity:
            return
        self.drop_before(newest - self.keep + 1)
        needed = self.filled + more
        if needed <= self.capacity:
            return
        capacity = min(self.limit, max(needed, 2 * self.capacity))
        if capacity > self.capacity and self.budget.take((capacity - self.capacity) * row_bytes(self.layout)):
            self._resize(capacity)

    def _forget(self, new: Int64, excess: int) -> Int64:
        """Let the oldest keys go, of those that are here and those to come; the ones that still come."""
        rows = max(excess, int(self.capacity * FORGOTTEN_SHARE))
        keys = np.sort(np.concatenate([self.index[: self.filled], new]))
        last = int(keys[min(rows, len(keys) - 1) - 1])
        self.forgotten = max(self.forgotten, last)
        self.drop_before(last + 1)
        return new[new > last]

    def _resize(self, capacity: int) -> None:
        before = [self.index, *self.columns]
        self.capacity, kept = capacity, min(capacity, self.capacity)
        self.room = bytearray(capacity * row_bytes(self.layout))
        for new, old in zip([self.index, *self.columns], before, strict=True):
            new[:kept] = old[:kept]

    def _insert(self, new: Int64) -> None:
        end = self.filled + len(new)
        if not self.filled or new[0] > self.newest:
            self.index[self.filled : end] = new
        else:
            places = np.searchsorted(self.index[: self.filled], new)
            for array in (self.index, *self.columns):
                array[:end] = np.insert(array[: self.filled], places, 0, axis=0)
            self.index[places + np.arange(len(new))] = new
        self.filled = end
