"""What waits to be sent: a bounded queue between the host's threads and the sender's, with the counters.

Every row that was put in is counted once more when it is settled: acknowledged, sent (fire and forget), rejected or dropped. So
`recorded_total == buffered + in_flight + settled`. Knows nothing of sockets or messages.

The host's side may be left at any point by a signal handler that records too, or raises (Ctrl-C). CPython runs handlers after
calls and jumps back alone; so a row comes in, or goes, with one call, the last of its kind, and what is counted with it is
counted before it without any call in between. Nobody waits while holding the lock, not even such a handler.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

from perfmon.producer import rejections
from perfmon.producer.changes import Changes, released
from perfmon.producer.columns import Block
from perfmon.producer.rows import Row
from perfmon.producer.stats import ProducerStats

#: Slice of a host's wait for room, after which it looks again whether the producer was closed.
WAIT_SLICE_S: Final = 0.5


class Taken(NamedTuple):
    """What is to become one message: rows, or a block of them. `ticket` is what `settle` is told."""

    ticket: int
    items: list[Row] | Block


class Buffer:
    """Rows and blocks of them in the order they were recorded; at most `max_rows` single rows and `max_bytes` of all wait."""

    def __init__(self, max_rows: int, max_bytes: int, *, block: bool) -> None:
        if max_rows < 1 or max_bytes < 1:
            raise ValueError("max_buffered and max_buffered_bytes are at least 1")
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self.blocking = block
        self.reset()

    def reset(self) -> None:
        """Empty, with new locks and counters at zero: what a forked child starts with."""
        # Reentrant: a signal handler may record a call while its own thread is inside put().
        self._lock = threading.RLock()
        self._changes = Changes()
        self._bell = threading.Lock()  # held while nobody rang
        self._bell.acquire()
        self._asleep = False
        self.attended = False  # whether a sender was started for it
        self._items: deque[Row | Block] = deque()
        self._blocks = 0
        self._block_rows = 0
        self._bytes = 0
        self._tickets: dict[int, int] = {}  # first row's ordinal → rows not settled yet
        self.closed = False
        self._entered = 0  # rows that came into the queue; `_entered - waiting` of them left it
        self._turned_away = 0
        self._reasons: dict[str, int] = {}
        self._acknowledged = self._duplicates = self._sent = self._dropped = self._rejected = self._resent = 0
        self.last_error: str | None = None
        self.in_flight_bytes = 0  # this and the next as the sender says
        self.credit_bytes: int | None = None

    # --- the host's side ------------------------------------------------------------------------------------------

    def put(self, row: Row) -> bool:
        """Take a row, and drop the oldest or wait for room when full; False when it was dropped because of the end."""
        size = row[10]
        while True:
            with self._lock:
                if self._asleep:
                    self._wake()
                items = self._items
                if (
                    self._bytes + size <= self._max_bytes
                    and len(items) - self._blocks < self._max_rows
                    and not self.closed
                ) or self._make_room(size, 1):
                    self._entered += 1
                    self._bytes += size
                    items.append(row)
                    return True
                if self.closed:
                    return self._turn_away(1)
                waiter = self._changes.waiter()
            self._await(waiter, WAIT_SLICE_S)

    def put_block(self, block: Block) -> bool:
        """`put` for many rows at once."""
        rows, size = block.rows, block.size_bytes
        while True:
            with self._lock:
                if self._asleep:
                    self._wake()
                if self._make_room(size, 0):
                    self._entered += rows
                    self._blocks += 1
                    self._block_rows += rows
                    self._bytes += size
                    self._items.append(block)
                    return True
                if self.closed:
                    return self._turn_away(rows)
                waiter = self._changes.waiter()
            self._await(waiter, WAIT_SLICE_S)

    def has_room(self, size_bytes: int, rows: int) -> bool:
        """Whether so much would be taken at once: nothing dropped, nobody waiting."""
        with self._lock:
            return self.closed or self._fits(size_bytes, rows)

    def refuse(self, rows: int, reason: str) -> None:
        """Count rows that were recorded and can't be taken."""
        with self._lock:
            reasons = rejections.added(self._reasons, {reason: rows}, rows)
            self._turned_away += rows
            self._rejected += rows
            self._reasons = reasons
            self.last_error = reason

    @property
    def mark(self) -> int:
        """How far recording is, for `settled`."""
        return self._entered

    def settled(self, mark: int) -> bool:
        """Whether all that was recorded up to a mark is settled."""
        with self._lock:
            return self._settled_up_to() >= mark

    def wait_settled(self, timeout_s: float) -> bool:
        """Whether all that was recorded before this call was settled within the time."""
        deadline = time.monotonic() + timeout_s
        mark = self._entered
        while True:
            with self._lock:
                if self._settled_up_to() >= mark:
                    return True
                if self._asleep and self._items:
                    self._wake()  # whoever put it in was interrupted before
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                waiter = self._changes.waiter()
            self._await(waiter, min(left_s, WAIT_SLICE_S))

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this, on whatever thread, whenever rows were taken or settled; it must not block."""
        with self._lock:
            self._changes.listen(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Stop calling it; a forked child has forgotten it already."""
        with self._lock:
            self._changes.unlisten(listener)

    def stats(self) -> ProducerStats:
        """All counters at one moment."""
        with self._lock:
            return ProducerStats(
                recorded_total=self._entered + self._turned_away,
                acknowledged_total=self._acknowledged,
                duplicates_total=self._duplicates,
                sent_total=self._sent,
                dropped_total=self._dropped,
                rejected_total=self._rejected,
                rejected_by_reason=self._reasons,
                resent_total=self._resent,
                in_flight=sum(self._tickets.values()),
                buffered=self.waiting,
                buffered_bytes=self._bytes,
                in_flight_bytes=self.in_flight_bytes,
                credit_bytes=self.credit_bytes,
                last_error=self.last_error,
            )

    # --- the sender's side ----------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Rows that wait to be taken."""
        return len(self._items) - self._blocks + self._block_rows

    def full_message(self, rows: int, size_bytes: int) -> bool:
        """Whether waiting for more is no use: so much waits, or a block, or half of what may wait."""
        return (
            self._blocks > 0
            or len(self._items) >= min(rows, (self._max_rows + 1) // 2)
            or self._bytes >= min(size_bytes, self._max_bytes // 2)
        )

    def take(self, max_rows: int, max_bytes: int) -> Taken | None:
        """The oldest block, or the oldest rows up to these (one at least); they are in flight until settled."""
        with self._lock:
            if not self._items:
                return None
            ticket = self._entered - self.waiting
            first = self._pop()
            if isinstance(first, Block):
                self._tickets[ticket] = first.rows
                self._changes.notify()
                return Taken(ticket, first)
            rows, size, items = [first], first[10], self._items
            while items and len(rows) < max_rows and type(items[0]) is not Block and size < max_bytes:
                row = items.popleft()
                rows.append(row)  # type: ignore[arg-type] # no block, see above
                size += row[10]  # type: ignore[misc] # likewise
            self._bytes -= size - first[10]
            self._tickets[ticket] = len(rows)
            self._changes.notify()
            return Taken(ticket, rows)

    def wait_for_rows(self) -> None:
        """Return when rows wait or the end began; may return early."""
        with self._lock:
            if self._items or self.closed:
                return
            self._asleep = True
        self._bell.acquire()

    def settle(
        self,
        ticket: int,
        *,
        acknowledged: int = 0,
        duplicates: int = 0,
        sent: int = 0,
        rejected: int = 0,
        reasons: Mapping[str, int] = rejections.NONE,
    ) -> None:
        """What became of rows in flight; `duplicates` are among the acknowledged, `reasons` say of rejected ones why."""
        with self._lock:
            if ticket not in self._tickets:
                return  # the end came first: it counts as dropped
            self._acknowledged += acknowledged
            self._duplicates += duplicates
            self._sent += sent
            self._rejected += rejected
            if rejected:
                self._reasons = rejections.added(self._reasons, reasons, rejected)
            self._tickets[ticket] -= acknowledged + sent + rejected
            if self._tickets[ticket] <= 0:
                del self._tickets[ticket]
            self._changes.notify()

    def resent(self, messages: int, reason: str) -> None:
        """So many more messages go out again."""
        with self._lock:
            self._resent += messages
            self.last_error = reason

    def reject_in_flight(self, reason: str) -> None:
        """Give up what is under way."""
        with self._lock:
            self.last_error = reason
            rows = sum(self._tickets.values())
            self._reasons = rejections.added(self._reasons, {reason: rows}, rows)
            self._rejected += rows
            self._tickets.clear()
            self._changes.notify()

    def close(self) -> None:
        """Take no more rows, and wake all who wait."""
        with self._lock:
            self.closed = True
            self._changes.notify()
            if self._asleep:
                self._wake()

    def drop_rest(self) -> None:
        """The end came: what still waits or is in flight counts as dropped."""
        with self._lock:
            dropped = self.waiting + sum(self._tickets.values())
            items: deque[Row | Block] = deque()
            self._dropped += dropped
            self._items, self._tickets = items, {}
            self._blocks = self._block_rows = self._bytes = 0
            self._changes.notify()

    # --- within the lock ------------------------------------------------------------------------------------------

    def _make_room(self, size_bytes: int, rows: int) -> bool:
        """Have room, at the cost of the oldest unless the host would rather wait; False when there is none, or the end came."""
        while not self.closed and not self._fits(size_bytes, rows):
            if self.blocking:
                return False
            self._drop_oldest()
        return not self.closed

    def _drop_oldest(self) -> None:
        items = self._items
        if not items:
            return
        item: Any = items[0]
        # No call from here to the last line: see above.
        if item.__class__ is Block:
            rows, size = item.rows, item.size_bytes
            self._blocks -= 1
            self._block_rows -= rows
        else:
            rows, size = 1, item[10]
        self._bytes -= size
        self._dropped += rows
        self.last_error = "buffer_full"
        items.popleft()

    def _turn_away(self, rows: int) -> bool:
        self._turned_away += rows
        self._dropped += rows
        return False

    def _fits(self, size_bytes: int, rows: int) -> bool:
        if not self._items:
            return True  # whatever its size, or it would never go
        return self._bytes + size_bytes <= self._max_bytes and len(self._items) - self._blocks + rows <= self._max_rows

    def _pop(self) -> Row | Block:
        item = self._items.popleft()
        if isinstance(item, Block):
            self._blocks -= 1
            self._block_rows -= item.rows
            self._bytes -= item.size_bytes
        else:
            self._bytes -= item[10]
        return item

    def _settled_up_to(self) -> int:
        """How many of the first rows are settled."""
        return next(iter(self._tickets)) if self._tickets else self._entered - self.waiting

    def _wake(self) -> None:
        self._asleep = False
        with contextlib.suppress(RuntimeError):  # a signal handler that recorded has rung already
            self._bell.release()

    # --- outside of the lock --------------------------------------------------------------------------------------

    def _await(self, waiter: threading.Lock, timeout_s: float) -> None:
        """Until something changed, or the time is up."""
        with self.unlocked():
            changed = waiter.acquire(timeout=timeout_s)
        if not changed:
            with self._lock:
                self._changes.forget(waiter)

    def unlocked(self) -> AbstractContextManager[None]:
        """Without the lock, which the caller's thread holds when a signal handler came while it was in `put`.

        What is under way there is as good after it: between its calls all that belongs together is done.
        """
        return released(self._lock)
