"""What waits to be sent: a bounded queue between the host's threads and the sender's, with the counters.

Every row that `put` was given is counted once more when it is settled: acknowledged, sent (fire and forget), rejected or
dropped. So `recorded_total == buffered + in_flight + settled`. Knows nothing of sockets or messages.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from perfmon.producer.rows import Row

#: Slice of a host's wait for room, after which it looks again whether the producer was closed.
WAIT_SLICE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class ProducerStats:
    """Rows by what became of them, except `resent_total`, which counts messages.

    `acknowledged_total` rows are on disk (`duplicates_total` of them had been before); `sent_total` were handed to the
    socket by a fire-and-forget producer, which never learns more; `rejected_total` were refused for what they are;
    `dropped_total` found no room, or no pipeline before the end. `last_error` is the newest reason for any loss or delay.
    """

    recorded_total: int
    acknowledged_total: int
    duplicates_total: int
    sent_total: int
    dropped_total: int
    rejected_total: int
    resent_total: int
    in_flight: int
    buffered: int
    last_error: str | None


class Buffer:
    """Rows in the order they were recorded; at most `max_rows` of them wait."""

    def __init__(self, max_rows: int, *, block: bool) -> None:
        if max_rows < 1:
            raise ValueError("max_buffered is at least 1")
        self._max_rows = max_rows
        self._block = block
        self.reset()

    def reset(self) -> None:
        """Empty, with new locks and counters at zero: what a forked child starts with."""
        # Reentrant: a signal handler may record a call while its own thread is inside put().
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._arrived = threading.Event()
        self._rows: deque[Row] = deque()
        self._in_flight = 0
        self._closed = False
        self._recorded = self._acknowledged = self._duplicates = self._sent = 0
        self._dropped = self._rejected = self._resent = 0
        self.last_error: str | None = None

    def put(self, row: Row) -> bool:
        """Take a row, and drop the oldest or wait for room when full; False when it was dropped because of the end."""
        with self._lock:
            self._recorded += 1
            if len(self._rows) >= self._max_rows and not self._closed:
                self._make_room()
            if self._closed:
                self._dropped += 1
                return False
            self._rows.append(row)
        if not self._arrived.is_set():
            self._arrived.set()
        return True

    def take(self, limit: int) -> list[Row]:
        """Up to `limit` of the oldest rows; they are in flight until settled."""
        with self._lock:
            rows = [self._rows.popleft() for _ in range(min(limit, len(self._rows)))]
            self._in_flight += len(rows)
            self._changed.notify_all()
            return rows

    def wait_for_rows(self) -> None:
        """Return when a row arrived or the end began; may return early."""
        self._arrived.wait()
        self._arrived.clear()

    def settle(
        self, *, acknowledged: int = 0, duplicates: int = 0, sent: int = 0, rejected: int = 0, dropped: int = 0
    ) -> None:
        """What became of rows in flight; `duplicates` are among the acknowledged."""
        with self._lock:
            self._acknowledged += acknowledged
            self._duplicates += duplicates
            self._sent += sent
            self._rejected += rejected
            self._dropped += dropped
            self._in_flight -= acknowledged + sent + rejected + dropped
            self._changed.notify_all()

    def resent(self, reason: str) -> None:
        """One more message goes out again."""
        with self._lock:
            self._resent += 1
            self.last_error = reason

    def reject_in_flight(self, reason: str) -> None:
        """Give up what is under way."""
        with self._lock:
            self.last_error = reason
            self.settle(rejected=self._in_flight)

    def wait_settled(self, timeout_s: float) -> bool:
        """Whether all that was recorded before this call was settled within the time."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            target = self._recorded
            while self._settled() < target:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, WAIT_SLICE_S))
            return True

    def close(self) -> None:
        """Take no more rows, and wake all who wait."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
        self._arrived.set()

    def drop_rest(self) -> None:
        """The end came: what still waits or is in flight counts as dropped."""
        with self._lock:
            self._dropped += len(self._rows) + self._in_flight
            self._rows.clear()
            self._in_flight = 0
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the end began."""
        return self._closed

    def stats(self) -> ProducerStats:
        """All counters at one moment."""
        with self._lock:
            return ProducerStats(
                recorded_total=self._recorded,
                acknowledged_total=self._acknowledged,
                duplicates_total=self._duplicates,
                sent_total=self._sent,
                dropped_total=self._dropped,
                rejected_total=self._rejected,
                resent_total=self._resent,
                in_flight=self._in_flight,
                buffered=len(self._rows),
                last_error=self.last_error,
            )

    def _make_room(self) -> None:
        if not self._block:
            self._rows.popleft()
            self._dropped += 1
            self.last_error = "buffer_full"
            return
        while len(self._rows) >= self._max_rows and not self._closed:
            self._changed.wait(WAIT_SLICE_S)

    def _settled(self) -> int:
        return self._acknowledged + self._sent + self._rejected + self._dropped
