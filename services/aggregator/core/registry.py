"""The series that are known: names to small ids and back, and when each was last heard of.

Blocks speak in ids; ids are given in order and never reused while the process lives. Safe from two threads: the loop gives ids
while it folds, a query gives them while it reads a file of long ago.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.batch import Series
from shared.sketch import BINS

Int32 = NDArray[np.int32]

#: Ids that fit a key of 31 bits (`shared.sketch`).
MAX_SERIES = (1 << 31) // BINS


class KnownSeries(NamedTuple):
    """A series as it is stored; `last_ts` is epoch ms, 0 = not known."""

    series_id: int
    server: str
    tool: str
    last_ts: int


class Registry:
    """Ids 0, 1, 2, … of series."""

    def __init__(self, known: Iterable[KnownSeries] = ()) -> None:
        self._lock = threading.Lock()
        self._ids: dict[Series, int] = {}
        self._names: list[Series] = []
        self._last: NDArray[np.int64] = np.zeros(64, np.int64)
        self._stored_last: NDArray[np.int64] = np.full(64, -1, np.int64)
        self._order: tuple[int, Int32] = (0, np.empty(0, np.int32))
        for row in sorted(known):
            if row.series_id == len(self._names):
                self.ids_of([Series(row.server, row.tool)])
                self._last[row.series_id] = self._stored_last[row.series_id] = row.last_ts

    def __len__(self) -> int:
        return len(self._names)

    def ids_of(self, names: Sequence[Series]) -> Int32:
        """The id of each series; a new one is given to whoever has none.

        Raises: OverflowError beyond MAX_SERIES.
        """
        ids = self._ids
        found = [ids.get(name, -1) for name in names]
        if -1 in found:
            with self._lock:
                found = [ids[name] if name in ids else self._add(name) for name in names]
        return np.array(found, np.int32)

    def name_of(self, series_id: int) -> Series:
        """The names of an id."""
        return self._names[series_id]

    def heard(self, ids: NDArray[np.integer[Any]], last_ts: NDArray[Any]) -> None:
        """Note the last moment of some series; each id once."""
        self._last[ids] = np.maximum(self._last[ids], last_ts.astype(np.int64))

    def last_ts(self, wanted: NDArray[np.bool_] | None = None) -> int | None:
        """When any of the wanted series (bool[ids], None: any at all) was last heard of."""
        last = self._last[: len(self._names)]
        chosen = last if wanted is None else last[: len(wanted)][wanted[: len(last)]]
        newest = int(chosen.max()) if len(chosen) else 0
        return newest or None

    def matching(self, server: str | None, tool: str | None) -> NDArray[np.bool_] | None:
        """Which ids have these names (None = any): bool[ids]; None when no name is given."""
        if server is None and tool is None:
            return None
        names = self._names
        if server is not None and tool is not None:
            wanted = np.zeros(len(names), np.bool_)
            found = self._ids.get(Series(server, tool), -1)
            if 0 <= found < len(wanted):
                wanted[found] = True
            return wanted
        return np.fromiter(
            ((server is None or s == server) and (tool is None or t == tool) for s, t in names), np.bool_, len(names)
        )

    def in_order(self) -> Int32:
        """The ids in the order of their names."""
        count, order = self._order
        if count != len(self._names):
            names = list(self._names)
            order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int32)
            self._order = (len(names), order)
        return order

    def listed(self) -> list[list[Any]]:
        """`[server, tool, last moment]` of every series, None = not known, last heard of first."""
        names = list(self._names)
        last = self._last[: len(names)]
        newest_first = np.argsort(-last, kind="stable").tolist()
        return [[names[at].server, names[at].tool, int(last[at]) or None] for at in newest_first]

    def unsaved(self, tolerance_ms: int) -> Iterator[KnownSeries]:
        """The series that are new, or were heard of `tolerance_ms` later than is stored."""
        with self._lock:
            count = len(self._names)
            behind = (self._stored_last[:count] < 0) | (self._last[:count] - self._stored_last[:count] >= tolerance_ms)
            due = np.flatnonzero(behind).tolist()
        for at in due:
            yield KnownSeries(at, *self._names[at], int(self._last[at]))

    def saved(self, rows: Iterable[KnownSeries]) -> None:
        """These are stored now."""
        for row in rows:
            self._stored_last[row.series_id] = row.last_ts

    def _add(self, name: Series) -> int:
        new = len(self._names)
        if new >= MAX_SERIES:
            raise OverflowError(f"more than {MAX_SERIES} series")
        if new >= len(self._last):
            self._last = np.concatenate((self._last, np.zeros(new, np.int64)))
            self._stored_last = np.concatenate((self._stored_last, np.full(new, -1, np.int64)))
        self._names.append(name)
        self._ids[name] = new
        return new
