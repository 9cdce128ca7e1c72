"""One sliding window over the metrics' own time: calls, errors and the distribution of measured columns, a series.

A ring of 60 slots (5 s each for five minutes). Series are small dense ids handed out by `series.SeriesTable`; everything is
vectorised over them, so that a batch of 50,000 rows costs milliseconds. Rows older than the ring are not kept. Knows nothing of
thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.alerter.core.slot import Keys, SparseCounts
from shared.sketch import BINS, bin_of, ranks, value_of

Ids = NDArray[np.int64]
Values = NDArray[np.float64]

#: Slots of a window; a slot is at least a second.
SLOTS: Final = 60
LEAST_SLOT_MS: Final = 1_000
#: No slot: a ring that has seen nothing.
NOTHING: Final = -1

_ONE: Final = np.int32(1)
#: Cells up to which their numbers have 16 bits.
_RADIX_CELLS: Final = 1 << 16


class Rows(NamedTuple):
    """Rows to fold in: the series id, time (ms), failure (0 or 1) and measured columns (NaN = not measured) of each."""

    ids: Ids
    ts: NDArray[np.int64]
    failed: NDArray[Any]
    columns: Mapping[str, Values]


class Cells(NamedTuple):
    """Rows by slot and series. `order` sorts them so; cell k, the rows of one series in one slot, begins at `starts[k]` of that
    order, has `counts[k]` rows and belongs to `ids[k]` and to the slot at `places[k]`.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    counts: Ids
    ids: Ids
    places: Ids

    def by_place(self) -> Iterator[tuple[int, slice]]:
        """(place, its rows in the order)."""
        firsts = np.flatnonzero(np.concatenate(([True], self.places[1:] != self.places[:-1])))
        bounds = [*self.starts[firsts].tolist(), len(self.order)]
        for place, rows in zip(self.places[firsts].tolist(), pairwise(bounds), strict=True):
            yield place, slice(*rows)


class ColumnRing:
    """One measured column: count, sum, min and max of each series and slot, and optionally its histogram."""

    def __init__(self, slots: int, *, distribution: bool) -> None:
        self.distribution = distribution
        self.count = np.zeros((0, slots))
        self.total = np.zeros((0, slots))
        self.least = np.full((0, slots), np.inf)
        self.most = np.full((0, slots), -np.inf)
        self.histogram = np.zeros((0, BINS), np.int32)
        self.parts = [SparseCounts() for _ in range(slots)]

    def grow(self, capacity: int) -> None:
        """Make room for ids below `capacity`."""
        self.count = _grown(self.count, capacity, 0.0)
        self.total = _grown(self.total, capacity, 0.0)
        self.least = _grown(self.least, capacity, np.inf)
        self.most = _grown(self.most, capacity, -np.inf)
        if self.distribution and len(self.histogram) < capacity:
            grown = np.zeros((capacity, BINS), np.int32)  # untouched pages cost nothing; concatenating would touch them
            grown[: len(self.histogram)] = self.histogram
            self.histogram = grown

    def add(self, cells: Cells, values: Values) -> None:
        """Fold the measured values of some slots in."""
        ordered, at, starts, counts = values[cells.order], (cells.ids, cells.places), cells.starts, cells.counts
        missing = np.isnan(ordered)
        some_missing = bool(missing.any())
        small = large = known = ordered
        if some_missing:
            counts = np.add.reduceat(~missing, starts, dtype=np.int64)
            known, small, large = (np.where(missing, empty, ordered) for empty in (0.0, np.inf, -np.inf))
        self.count[at] += counts
        self.total[at] += np.add.reduceat(known, starts)
        self.least[at] = np.minimum(self.least[at], np.minimum.reduceat(small, starts))
        self.most[at] = np.maximum(self.most[at], np.maximum.reduceat(large, starts))
        if self.distribution:
            keys = np.repeat((cells.ids * BINS).astype(np.int32), cells.counts)
            keys += bin_of(ordered)
            for place, rows in cells.by_place():
                of_slot = keys[rows][~missing[rows]] if some_missing else keys[rows]
                np.add.at(self.histogram.reshape(-1), of_slot, _ONE)
                self.parts[place].add_each(of_slot)

    def put(self, place: int, keys: Keys, counts: Values) -> None:
        """Add counts by distinct key (id · BINS + bin) to a slot and to the window's total."""
        self.histogram.reshape(-1)[keys] += counts.astype(np.int32)
        self.parts[place].add(keys, counts)

    def clear(self, place: int) -> None:
        """Take a slot out of the window."""
        self.count[:, place] = 0
        self.total[:, place] = 0
        self.least[:, place] = np.inf
        self.most[:, place] = -np.inf
        if self.distribution:
            keys, counts = self.parts[place].merged()
            self.histogram.reshape(-1)[keys] -= counts.astype(np.int32)
            self.parts[place].clear()


class SlidingWindow:
    """The last `window_ms` of every series, seen from the newest slot of all.

    columns: the measured columns that are kept, and whether with their distribution.
    """

    def __init__(self, window_ms: int, columns: Mapping[str, bool]) -> None:
        self.window_ms = window_ms
        self.slot_ms = max(LEAST_SLOT_MS, -(-window_ms // SLOTS))
        self.slots = -(-window_ms // self.slot_ms)
        self.head = NOTHING
        self.calls = np.zeros((0, self.slots))
        self.failures = np.zeros((0, self.slots))
        self.columns = {name: ColumnRing(self.slots, distribution=wide) for name, wide in columns.items()}
        self.changed: set[int] = set()
        self.late_rows_total = 0

    def ensure(self, columns: Mapping[str, bool]) -> None:
        """Keep these columns too, from now on; a column that begins to need its distribution starts empty."""
        for name, wide in columns.items():
            ring = self.columns.get(name)
            if ring is None or (wide and not ring.distribution):
                self.columns[name] = ColumnRing(self.slots, distribution=wide)
                self.columns[name].grow(len(self.calls))

    def grow(self, capacity: int) -> None:
        """Make room for ids below `capacity`."""
        self.calls = _grown(self.calls, capacity, 0.0)
        self.failures = _grown(self.failures, capacity, 0.0)
        for ring in self.columns.values():
            ring.grow(capacity)

    def add(self, rows: Rows) -> None:
        """Fold rows in, each into its own slot; the window moves on to the newest."""
        if not len(rows.ids):
            return
        slots = rows.ts // self.slot_ms
        self.advance(int(slots.max()))
        ids, failed, columns = rows.ids, rows.failed, rows.columns
        in_time = slots > self.head - self.slots
        if not in_time.all():
            self.late_rows_total += int(np.count_nonzero(~in_time))
            ids, failed, slots = ids[in_time], failed[in_time], slots[in_time]
            columns = {name: values[in_time] for name, values in columns.items()}
            if not len(ids):
                return
        cells = self._cells(ids, slots)
        at = (cells.ids, cells.places)
        self.calls[at] += cells.counts
        if failed.any():
            self.failures[at] += np.add.reduceat(failed[cells.order], cells.starts, dtype=np.int64)
        for name, ring in self.columns.items():
            if name in columns:
                ring.add(cells, columns[name])
        oldest = self.head - self.slots + 1
        self.changed.update((oldest + (np.unique(cells.places) - oldest) % self.slots).tolist())

    def advance(self, slot: int) -> None:
        """Let the window end with `slot`, if that is later than where it ends."""
        if slot <= self.head:
            return
        first = slot - self.slots + 1 if self.head == NOTHING else max(self.head + 1, slot - self.slots + 1)
        for fresh in range(first, slot + 1):
            self._clear(fresh % self.slots)
        self.head = slot

    def is_ahead(self, at_ms: int) -> bool:
        """Whether the window ends so far after `at_ms` that the clock must have been wrong: it would take nothing in."""
        return self.head * self.slot_ms > at_ms + self.window_ms

    def calls_of(self, ids: Ids) -> Values:
        """Calls in the window, f64[k]."""
        return np.asarray(self.calls[ids].sum(axis=1))

    def failures_of(self, ids: Ids) -> Values:
        """Failed calls in the window, f64[k]."""
        return np.asarray(self.failures[ids].sum(axis=1))

    def measured_of(self, column: str, ids: Ids) -> Values:
        """Calls for which the column was measured, f64[k]."""
        return np.asarray(self.columns[column].count[ids].sum(axis=1))

    def mean_of(self, column: str, ids: Ids) -> Values:
        """The mean of a column, f64[k], NaN where nothing was measured."""
        ring = self.columns[column]
        count = ring.count[ids].sum(axis=1)
        mean: Values = np.divide(ring.total[ids].sum(axis=1), count, out=np.full(len(ids), np.nan), where=count > 0)
        return mean

    def least_of(self, column: str, ids: Ids) -> Values:
        """The smallest value, f64[k], inf where nothing was measured."""
        least: Values = self.columns[column].least[ids].min(axis=1, initial=np.inf)
        return least

    def most_of(self, column: str, ids: Ids) -> Values:
        """The largest value, f64[k], −inf where nothing was measured."""
        most: Values = self.columns[column].most[ids].max(axis=1, initial=-np.inf)
        return most

    def quantile_of(self, column: str, ids: Ids, quantile: float) -> Values:
        """The nearest-rank quantile within 1 %, never outside what was measured; f64[k], NaN where nothing was."""
        ring = self.columns[column]
        running = np.cumsum(ring.histogram[ids], axis=1)
        count = running[:, -1]
        bins = (running < ranks(count, quantile)[:, None]).sum(axis=1)
        value = value_of(np.minimum(bins, BINS - 1))
        clamped = np.minimum(np.maximum(value, self.least_of(column, ids)), self.most_of(column, ids))
        return np.asarray(np.where(count > 0, clamped, np.nan))

    def may_exceed(self, column: str, ids: Ids, limits: Values, quantile: float) -> NDArray[np.bool_]:
        """Which ids' quantile can be above their limits (inf: none is), cheaply: so many of their values are not below the least
        of these limits.
        """
        ring = self.columns[column]
        lowest = int(bin_of(limits.min(initial=np.inf)))
        above = ring.histogram[ids, lowest:].sum(axis=1)
        count = self.measured_of(column, ids)
        return np.asarray((above > count - ranks(count, quantile)) & np.isfinite(limits))

    def known(self) -> list[int]:
        """The slots in the window that may hold calls, ascending."""
        return list(range(max(0, self.head - self.slots + 1), self.head + 1))

    def idle(self, capacity: int) -> NDArray[np.bool_]:
        """Which ids below `capacity` have no call in the window."""
        return np.asarray(self.calls[:capacity].sum(axis=1) == 0)

    def _cells(self, ids: Ids, slots: Ids) -> Cells:
        first, size = int(slots.min()), len(self.calls)
        number = (slots - first) * size + ids
        # 16-bit numbers are sorted by radix.
        small = number.astype(np.uint16) if (int(slots.max()) - first + 1) * size <= _RADIX_CELLS else number
        order = np.argsort(small, kind="stable")
        ordered = number[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        slot, at_id = np.divmod(ordered[starts], size)
        return Cells(order, starts, np.diff(np.append(starts, len(order))), at_id, (slot + first) % self.slots)

    def _clear(self, place: int) -> None:
        self.calls[:, place] = 0
        self.failures[:, place] = 0
        for ring in self.columns.values():
            ring.clear(place)


def _grown(array: NDArray[np.float64], capacity: int, empty: float) -> NDArray[np.float64]:
    if len(array) >= capacity:
        return array
    return np.concatenate([array, np.full((capacity - len(array), array.shape[1]), empty)])
