"""The latest calls of a series, exactly as they came."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.state.budget import Budget

#: Calls kept to begin with, and at most. When full the oldest quarter goes, so at least three quarters are always there.
FIRST_CALLS: Final = 64
MAX_CALLS: Final = 1024


class Calls:
    """`ts` i64[capacity], `x` f64[metrics, capacity] (NaN = not measured), `ok` u8[capacity]; in order of arrival."""

    __slots__ = ("budget", "dropped_ts", "filled", "ok", "ts", "x")

    def __init__(self, metrics: int, budget: Budget) -> None:
        self.ts: NDArray[np.int64] = np.zeros(FIRST_CALLS, np.int64)
        self.x: NDArray[np.float64] = np.full((metrics, FIRST_CALLS), np.nan)
        self.ok: NDArray[np.uint8] = np.zeros(FIRST_CALLS, np.uint8)
        self.filled = 0
        self.budget = budget
        #: The latest time of a call that is no longer here; whatever is after it is complete.
        self.dropped_ts = -1

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        return self.ts.nbytes + self.x.nbytes + self.ok.nbytes

    def append(self, ts: NDArray[np.int64], x: NDArray[np.float64], ok: NDArray[np.uint8]) -> None:
        """Add calls; metrics that `x` lacks are not measured."""
        n = len(ts)
        if n > MAX_CALLS:
            cut = n - MAX_CALLS
            self.dropped_ts = max(self.dropped_ts, int(ts[:cut].max()))
            ts, x, ok, n = ts[cut:], x[:, cut:], ok[cut:], MAX_CALLS
        if self.filled + n > len(self.ts):
            self._reserve(n)
            skip = max(0, n - len(self.ts))
            if skip:
                self.dropped_ts = max(self.dropped_ts, int(ts[:skip].max()))
                ts, x, ok, n = ts[skip:], x[:, skip:], ok[skip:], n - skip
        end = self.filled + n
        self.ts[self.filled : end] = ts
        self.ok[self.filled : end] = ok
        measured = min(len(x), len(self.x))
        self.x[:measured, self.filled : end] = x[:measured]
        self.x[measured:, self.filled : end] = np.nan
        self.filled = end

    def widen(self, metrics: int) -> None:
        """Make room for more metrics."""
        wider = np.full((metrics, self.x.shape[1]), np.nan)
        wider[: len(self.x)] = self.x
        self.x = wider

    def between(self, start_ms: int, end_ms: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.uint8]]:
        """(ts, x[metrics, n], ok) of the calls with start ≤ ts ≤ end, ascending by time."""
        ts = self.ts[: self.filled]
        chosen = np.flatnonzero((ts >= start_ms) & (ts <= end_ms))
        if len(chosen) > 1 and np.any(np.diff(ts[chosen]) < 0):
            chosen = chosen[np.argsort(ts[chosen], kind="stable")]
        return ts[chosen], self.x[:, chosen], self.ok[chosen]

    def covers(self, start_ms: int) -> bool:
        """Whether every call since `start_ms` is here."""
        return self.dropped_ts < start_ms

    def _reserve(self, more: int) -> None:
        capacity = len(self.ts)
        wanted = min(MAX_CALLS, max(2 * capacity, self.filled + more))
        if wanted > capacity and self.budget.take((wanted - capacity) * (self.size_bytes // capacity)):
            self._resize(wanted)
        if self.filled + more > len(self.ts):
            self._drop(max(self.filled + more - len(self.ts), len(self.ts) // 4))

    def _resize(self, capacity: int) -> None:
        n = self.filled
        ts, x, ok = np.zeros(capacity, np.int64), np.full((len(self.x), capacity), np.nan), np.zeros(capacity, np.uint8)
        ts[:n], x[:, :n], ok[:n] = self.ts[:n], self.x[:, :n], self.ok[:n]
        self.ts, self.x, self.ok = ts, x, ok

    def _drop(self, rows: int) -> None:
        rows = min(rows, self.filled)
        if not rows:
            return
        self.dropped_ts = max(self.dropped_ts, int(self.ts[:rows].max()))
        left = self.filled - rows
        arrays: tuple[NDArray[Any], ...] = (self.ts, self.ok)
        for array in arrays:
            array[:left] = array[rows : self.filled].copy()
        self.x[:, :left] = self.x[:, rows : self.filled].copy()
        self.filled = left
