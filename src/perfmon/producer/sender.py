"""The thread that owns the connection: takes rows from the buffer, sends, hears answers, connects anew.

Acts on what `delivery` decides. Everything of ZeroMQ is a local of the thread, so that a forked child, in which the thread
does not exist, has nothing of its parent's to close or to send. If this thread's own code fails, what is under way is given
up and counted, and it goes on.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import zmq

from perfmon.producer.address import Locate
from perfmon.producer.buffer import Buffer
from perfmon.producer.connection import PUSH_LINGER_MS, Connection, connected
from perfmon.producer.delivery import Delivery, Verdict
from perfmon.producer.failures import Failures
from perfmon.producer.messages import build_message
from perfmon.wire import CREDIT_PROBE_S, WireError, unpack_envelope

#: Rows of one message at the most.
MAX_MESSAGE_ROWS: Final = 5_000
#: What is recorded within so long of the last message goes into one, unless it fills it sooner.
LINGER_S: Final = 0.02
#: How long after a message it goes on looking for rows that often.
BUSY_S: Final = 0.1
#: How often a thread that waits for its peer looks whether it should end.
POLL_SLICE_MS: Final = 100
#: How often it looks for a pipeline where there was none.
LOOK_AGAIN_S: Final = 0.5
#: What a thread may take beyond its deadline to close its socket.
JOIN_MARGIN_S: Final = 0.5
#: Pause after a failure of our own code.
FAILURE_PAUSE_S: Final = 1.0
#: Pause before the next connection when the last ended without a word; doubled each time up to the limit.
REFUSED_PAUSE_S: Final = 0.1
MAX_REFUSED_PAUSE_S: Final = 5.0

#: Why nothing is sent, where nobody takes it.
NO_PIPELINE: Final = "no_pipeline"

_log = logging.getLogger("perfmon.producer")


class Sender:
    """Delivers what is in the buffer until told to stop. `nowhere`: what is said while `locate` knows no address."""

    def __init__(
        self,
        buffer: Buffer,
        locate: Locate,
        new_producer_id: Callable[[], str],
        *,
        acks: bool,
        probe_s: float = CREDIT_PROBE_S,
        nowhere: str = NO_PIPELINE,
    ) -> None:
        self._buffer = buffer
        self._locate = locate
        self._new_producer_id = new_producer_id
        self._acks = acks
        self._probe_s = probe_s
        self._nowhere = nowhere
        self.reset()

    def start_afresh(self) -> None:
        """Nothing recorded, no thread, a new producer id whose sequences are its own: what a forked child starts with."""
        self._buffer.reset()
        self.reset()

    def reset(self) -> None:
        """No thread and a new producer id."""
        # Reentrant: a signal handler may record while its own thread starts this one.
        self._starting = threading.RLock()
        self._claimed = False
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._stop_by_s = float("inf")
        self._grace_s: float | None = None
        self._taken_s = self._loaded_s = 0.0
        self._refusals = 0  # connections in a row that ended without a word
        self._failures = Failures()
        self.producer_id = self._new_producer_id()

    @property
    def running(self) -> bool:
        """Whether the thread was started."""
        return self._thread is not None

    @property
    def ended(self) -> bool:
        """Whether it was stopped and its thread is gone."""
        return self._stopping.is_set() and (self._thread is None or not self._thread.is_alive())

    def start(self) -> None:
        """Start the thread unless it was; a process that is ending may refuse."""
        with self._starting:
            if self._thread is not None:
                return
            self._thread = thread = threading.Thread(target=self._run, name="perfmon-producer", daemon=True)
            try:
                thread.start()
            except BaseException:
                # Interrupted, it may run all the same: then it says so itself.
                if not self._claimed:
                    self._thread = None
                raise

    def begin_stop(self, timeout_s: float, *, grace_s: float | None = None) -> None:
        """Take no more, deliver what waits within the time and end; returns at once, idempotent.

        `grace_s` ends it sooner when nobody takes messages for so long.
        """
        self._grace_s = grace_s
        self._stop_by_s = time.monotonic() + timeout_s
        self._stopping.set()
        self._buffer.close()

    def finish_stop(self) -> None:
        """Wait for the end that was begun, and count what is left as dropped."""
        with self._starting:  # another thread may be starting it
            thread = self._thread
        # In a signal handler on top of its start it is not alive yet, and will find that it should end.
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            left_s = max(0.0, self._stop_by_s - time.monotonic())
            with self._buffer.unlocked():
                thread.join(left_s + PUSH_LINGER_MS / 1000 + JOIN_MARGIN_S)
        self._buffer.drop_rest()

    def _run(self) -> None:
        if not self._claim():
            return
        delivery = Delivery(self.producer_id if self._acks else None, probe_s=self._probe_s)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            while not self._ended(delivery):
                try:
                    self._deliver(context, delivery)
                except Exception as error:  # noqa: BLE001 - the top of the loop: a host never sees our bug
                    self._tell(error)
                    delivery.give_up()
                    self._buffer.reject_in_flight(f"internal: {type(error).__name__}")
                    self._pause(FAILURE_PAUSE_S)
        finally:
            context.term()

    def _claim(self) -> bool:
        """Whether this thread is the one that delivers: there may be a second whose start was interrupted."""
        with self._starting:
            if self._claimed:
                return False
            self._claimed = True
            self._thread = threading.current_thread()
            self._buffer.attended = True
            return True

    def _deliver(self, context: zmq.Context[Any], delivery: Delivery) -> None:
        """One connection's life: until the end, or until it is to be replaced."""
        address = self._locate()
        if address is None:
            self._buffer.last_error = self._nowhere
            self._no_taker_since(0.0)
            self._pause(LOOK_AGAIN_S)
            return
        with connected(context, address, acks=self._acks) as connection:
            if not self._refusals:
                self._taken_s = time.monotonic()
            again = delivery.connected(time.monotonic())
            if again:
                self._buffer.resent(again, "no_answer")
            self._converse(connection, delivery)
        if connection.refused:
            self._refused(connection.failure)
        else:
            self._refusals = 0

    def _converse(self, connection: Connection, delivery: Delivery) -> None:
        """Send and hear until the end, or until the connection is lost or to be replaced."""
        while not self._ended(delivery) and not connection.lost():
            self._hear_all(connection, delivery)
            now_s = time.monotonic()
            self._show(delivery, now_s)
            if delivery.overdue(now_s):
                return  # a new connection: whatever state the old one was in is gone with it
            if not self._send(connection, delivery, now_s):
                self._wait(connection, delivery, now_s)

    def _send(self, connection: Connection, delivery: Delivery, now_s: float) -> bool:
        """Whether a message went out, or is settled because nothing of it can travel."""
        if not connection.takes():
            return False
        if delivery.next_frame(now_s) is None and not self._load(delivery, now_s):
            return False
        frame = delivery.next_frame(now_s)
        if frame is None:
            return False
        if not connection.send(frame):
            return False
        self._taken_s = now_s
        self._settle(delivery.sent(now_s))
        return True

    def _load(self, delivery: Delivery, now_s: float) -> bool:
        """Whether a message was made of what waits."""
        size_bytes = delivery.appetite_bytes(now_s)
        full = self._buffer.full_message(MAX_MESSAGE_ROWS, size_bytes)
        if not size_bytes or not (full or self._stopping.is_set() or now_s >= self._loaded_s + LINGER_S):
            return False
        taken = self._buffer.take(MAX_MESSAGE_ROWS, size_bytes)
        if taken is None:
            return False
        self._loaded_s = now_s
        self._settle(delivery.add(taken.ticket, build_message(taken.items), now_s), taken.ticket)
        return True

    def _wait(self, connection: Connection, delivery: Delivery, now_s: float) -> None:
        """Until something may have changed."""
        rows_wait = self._buffer.waiting > 0
        if delivery.idle and not rows_wait:
            self._buffer.wait_for_rows()
            self._taken_s = time.monotonic()
        elif not connection.takes():
            connection.wait(POLL_SLICE_MS, for_room=True)
            if not connection.takes() and not connection.lost():
                self._buffer.last_error = NO_PIPELINE
                self._no_taker_since(self._taken_s)
        elif rows_wait and delivery.appetite_bytes(now_s):
            connection.wait(1000 * (self._loaded_s + LINGER_S - now_s))
        else:
            # Nobody rings while this thread is awake, so it looks for rows itself, less often when answers take long.
            look_ms = 1000 * LINGER_S if not rows_wait and now_s - self._taken_s < BUSY_S else POLL_SLICE_MS
            connection.wait(min(look_ms, 1000 * delivery.wait_s(now_s)))

    def _hear_all(self, connection: Connection, delivery: Delivery) -> None:
        for frame in connection.frames():
            with contextlib.suppress(WireError):
                _, kind, body = unpack_envelope(frame)
                self._settle(delivery.answered(kind, body, time.monotonic()))

    def _settle(self, verdict: Verdict, ticket: int | None = None) -> None:
        ticket = verdict.ticket if verdict.ticket is not None else ticket
        if verdict.reason is not None:
            self._buffer.last_error = verdict.reason
        if ticket is not None:
            self._buffer.settle(
                ticket,
                acknowledged=verdict.acknowledged,
                duplicates=verdict.duplicates,
                sent=verdict.sent,
                rejected=verdict.rejected,
                reasons=verdict.reasons,
            )

    def _show(self, delivery: Delivery, now_s: float) -> None:
        self._buffer.in_flight_bytes = delivery.frames_bytes
        self._buffer.credit_bytes = delivery.window.credit(now_s) if self._acks else None

    def _refused(self, failure: str | None) -> None:
        """The connection was ended before anything was heard on it: not at once again."""
        if failure is not None:
            self._buffer.last_error = failure
        pause_s = min(REFUSED_PAUSE_S * 2.0 ** min(self._refusals, 10), MAX_REFUSED_PAUSE_S)
        self._refusals += 1
        self._pause(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - so that many producers do not come together
        self._no_taker_since(self._taken_s)

    def _tell(self, error: Exception) -> None:
        times = self._failures.tell(f"{type(error).__name__}: {error}", time.monotonic())
        if times:
            _log.exception("delivery failed (%d times since last told)", times)

    def _pause(self, pause_s: float) -> None:
        """Wait so long, or until the end begins; while it lasts, wait all the same, in slices."""
        if self._stopping.is_set():
            time.sleep(min(pause_s, POLL_SLICE_MS / 1000))
        else:
            self._stopping.wait(pause_s)

    def _ended(self, delivery: Delivery) -> bool:
        """Whether all is delivered after the end began, or the time for it is up."""
        if not self._stopping.is_set():
            return False
        nothing_left = delivery.idle and not self._buffer.waiting
        return nothing_left or time.monotonic() >= self._stop_by_s

    def _no_taker_since(self, since_s: float) -> None:
        if self._stopping.is_set() and self._grace_s is not None and time.monotonic() - since_s >= self._grace_s:
            self._stop_by_s = 0.0
