"""The latest calls of a series, exactly as they came."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.absorb import keep_calls
from services.detector.core.state.budget import Budget

#: Calls kept to begin with, and at most; then the latest take the places of the oldest.
FIRST_CALLS: Final = 8
MAX_CALLS: Final = 1024


class Calls:
    """`ts` i64[capacity], `x` f64[metrics, capacity] (NaN = not measured), `ok` u8[capacity]: rings of `filled` calls in order of
    arrival, of which the next one goes to `following`. Views of one block of memory, good until it grows.
    """

    __slots__ = ("budget", "capacity", "dropped_ts", "filled", "following", "metrics", "room")

    def __init__(self, metrics: int, budget: Budget) -> None:
        self._make(metrics, FIRST_CALLS)
        self.filled = 0
        self.following = 0
        self.budget = budget
        #: The latest time of a call that is no longer here; whatever is after it is complete.
        self.dropped_ts = -1

    @property
    def ts(self) -> NDArray[np.int64]:
        """When each call came."""
        return np.ndarray(self.capacity, np.int64, self.room)

    @property
    def x(self) -> NDArray[np.float64]:
        """What was measured."""
        return np.ndarray((self.metrics, self.capacity), np.float64, self.room, 8 * self.capacity)

    @property
    def ok(self) -> NDArray[np.uint8]:
        """Whether each call succeeded."""
        return np.ndarray(self.capacity, np.uint8, self.room, 8 * self.capacity * (1 + self.metrics))

    def views(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.uint8]]:
        """`ts`, `x` and `ok`."""
        return self.ts, self.x, self.ok

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        return len(self.room)

    def append(self, ts: NDArray[np.int64], x: NDArray[np.float64], ok: NDArray[np.uint8]) -> None:
        """Add calls; metrics that `x` lacks are not measured."""
        self.make_room(len(ts))
        ts, x, ok = ts.copy(), x.copy(), ok.copy()  # kernels want them contiguous
        self.kept(*keep_calls(ts, x, ok, 0, len(ts), self.ts, self.x, self.ok, self.filled, self.following))

    def kept(self, filled: int, following: int, dropped_ts: int) -> None:
        """Note where the rings stand now, and the latest time of the calls that went."""
        self.filled, self.following = filled, following
        self.dropped_ts = max(self.dropped_ts, dropped_ts)

    def make_room(self, more: int) -> None:
        """Grow for so many more calls, as far as may be."""
        capacity = self.capacity
        if self.filled + more <= capacity or capacity >= MAX_CALLS:
            return
        wanted = min(MAX_CALLS, max(2 * capacity, self.filled + more))
        if self.budget.take((wanted - capacity) * (self.size_bytes // capacity)):
            self._resize(wanted)

    def halve(self) -> None:
        """Give half of the room back, the oldest calls with it."""
        capacity = max(FIRST_CALLS, self.capacity // 2)
        if capacity >= self.capacity:
            return
        before = self.size_bytes
        ts, x, ok = self.in_order()
        if len(ts) > capacity:
            self.dropped_ts = max(self.dropped_ts, int(ts[:-capacity].max()))
        self._lay_out(capacity, ts[-capacity:], x[:, -capacity:], ok[-capacity:])
        self.budget.force(self.size_bytes - before)

    def in_order(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.uint8]]:
        """(ts, x[metrics, n], ok) of all calls in order of arrival."""
        if self.filled < self.capacity or self.following == 0:
            return self.ts[: self.filled], self.x[:, : self.filled], self.ok[: self.filled]
        at, (ts, x, ok) = self.following, self.views()
        in_turn = np.concatenate([x[:, at:], x[:, :at]], axis=1)
        return np.concatenate([ts[at:], ts[:at]]), in_turn, np.concatenate([ok[at:], ok[:at]])

    def by_time(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.uint8]]:
        """(ts, x[metrics, n], ok) of all calls, ascending by time: those that came late stand where they belong."""
        ts, x, ok = self.in_order()
        if np.all(ts[1:] >= ts[:-1]):
            return ts, x, ok
        order = np.argsort(ts, kind="stable")
        return ts[order], x[:, order], ok[order]

    def widen(self, metrics: int) -> None:
        """Make room for more metrics."""
        ts, x, ok = self.ts, self.x, self.ok
        self._make(metrics, self.capacity)
        self.ts[:], self.x[: len(x)], self.ok[:] = ts, x, ok

    def between(self, start_ms: int, end_ms: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.uint8]]:
        """(ts, x[metrics, n], ok) of the calls with start ≤ ts ≤ end, ascending by time."""
        ts = self.ts[: self.filled]
        chosen = np.flatnonzero((ts >= start_ms) & (ts <= end_ms))
        if self.filled == self.capacity and self.following:
            # The ring's later part is the older one.
            first = int(np.searchsorted(chosen, self.following))
            chosen = np.concatenate([chosen[first:], chosen[:first]])
        if len(chosen) > 1 and np.any(np.diff(ts[chosen]) < 0):
            chosen = chosen[np.argsort(ts[chosen], kind="stable")]
        return ts[chosen], self.x[:, chosen], self.ok[chosen]

    def covers(self, start_ms: int) -> bool:
        """Whether every call since `start_ms` is here."""
        return self.dropped_ts < start_ms

    def _resize(self, capacity: int) -> None:
        self._lay_out(capacity, *self.in_order())

    def _lay_out(
        self, capacity: int, kept_ts: NDArray[np.int64], kept_x: NDArray[np.float64], kept_ok: NDArray[np.uint8]
    ) -> None:
        n = len(kept_ts)
        self._make(self.metrics, capacity)
        self.ts[:n], self.x[:, :n], self.ok[:n] = kept_ts, kept_x, kept_ok
        self.filled, self.following = n, n % capacity

    def _make(self, metrics: int, capacity: int) -> None:
        self.metrics, self.capacity = metrics, capacity
        self.room = bytearray(capacity * (9 + 8 * metrics))
        self.x[:] = np.nan
