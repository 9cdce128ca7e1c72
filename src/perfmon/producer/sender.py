"""The thread that owns the socket: takes rows from the buffer, sends, waits for answers, reconnects.

Acts on what `delivery` decides. Everything of ZeroMQ is a local of the thread, so that a forked child, in which the thread
does not exist, has nothing of its parent's to close or to send. If this thread's own code fails, the message under way is
given up and counted, and it goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import zmq

from perfmon.producer.buffer import Buffer
from perfmon.producer.delivery import Delivery, Phase, Verdict
from perfmon.wire import WireError, unpack_envelope
from perfmon.wire.limits import MAX_FRAME_BYTES

#: Rows of one message: about 12 MB at the very most, so below the frame limit whatever the rows hold.
MAX_MESSAGE_ROWS: Final = 1_000
#: How often a thread that waits for its peer looks whether it should end.
POLL_SLICE_MS: Final = 100
#: How often it looks for a pipeline where there was none.
LOOK_AGAIN_S: Final = 0.5
#: Pauses between attempts to connect to a pipeline that is down.
RECONNECT_MS: Final = 100
RECONNECT_MAX_MS: Final = 2_000
#: A dead peer on TCP is noticed after this; on ipc the kernel tells.
HEARTBEAT_MS: Final = 2_000
HEARTBEAT_TIMEOUT_MS: Final = 6_000
#: How long a closing fire-and-forget socket may take to get its last messages out.
PUSH_LINGER_MS: Final = 1_000
#: What a thread may take beyond its deadline to close its socket.
JOIN_MARGIN_S: Final = 0.5
#: Pause after a failure of our own code.
FAILURE_PAUSE_S: Final = 1.0

_log = logging.getLogger("perfmon.producer")


class Sender:
    """Delivers what is in the buffer until told to stop."""

    def __init__(
        self, buffer: Buffer, endpoint: Callable[[], str | None], new_producer_id: Callable[[], str], *, acks: bool
    ) -> None:
        self._buffer = buffer
        self._endpoint = endpoint
        self._new_producer_id = new_producer_id
        self._acks = acks
        self.reset()

    def start_afresh(self) -> None:
        """Nothing recorded, no thread, a new producer id whose sequences are its own: what a forked child starts with."""
        self._buffer.reset()
        self.reset()

    def reset(self) -> None:
        """No thread and a new producer id."""
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._stop_by_s = float("inf")
        self._grace_s: float | None = None
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
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="perfmon-producer", daemon=True)
                thread.start()
                self._thread = thread

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
        if self._thread is not None and self._thread is not threading.current_thread():
            left_s = max(0.0, self._stop_by_s - time.monotonic())
            self._thread.join(left_s + PUSH_LINGER_MS / 1000 + JOIN_MARGIN_S)
        self._buffer.drop_rest()

    def _run(self) -> None:
        delivery = Delivery(self.producer_id if self._acks else None)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            while not self._ended(delivery):
                try:
                    self._deliver(context, delivery)
                except Exception as error:  # noqa: BLE001 - the top of the loop: a host never sees our bug
                    _log.exception("delivery failed")
                    delivery.give_up("internal")
                    self._buffer.reject_in_flight(f"internal: {type(error).__name__}")
                    self._stopping.wait(FAILURE_PAUSE_S)
        finally:
            context.term()

    def _deliver(self, context: zmq.Context[Any], delivery: Delivery) -> None:
        """One socket's life: until the end, or until it should be replaced."""
        endpoint = self._endpoint()
        if endpoint is None:
            self._buffer.last_error = "no_pipeline"
            self._no_taker_since(0.0)
            self._stopping.wait(LOOK_AGAIN_S)
            if self._stopping.is_set():
                time.sleep(POLL_SLICE_MS / 1000)
            return
        with self._socket(context, endpoint) as socket:
            taken_s = time.monotonic()
            while not self._ended(delivery):
                if delivery.phase is Phase.IDLE:
                    self._load(delivery)
                    taken_s = time.monotonic()
                elif delivery.phase is Phase.WAITING:
                    if not self._listen(socket, delivery):
                        return  # a new socket: whatever state the old one was in is gone with it
                elif self._send(socket, delivery):
                    taken_s = time.monotonic()
                else:
                    self._no_taker_since(taken_s)

    def _load(self, delivery: Delivery) -> None:
        rows = self._buffer.take(MAX_MESSAGE_ROWS)
        if rows:
            self._settle(delivery.load(rows, time.monotonic()))
        elif not self._buffer.closed:
            self._buffer.wait_for_rows()

    def _send(self, socket: zmq.Socket[bytes], delivery: Delivery) -> bool:
        """Whether there is a peer; the message is sent if its time has come."""
        wait_ms = delivery.wait_s(time.monotonic()) * 1000
        if wait_ms > 0:
            self._hear(socket, delivery, min(wait_ms, POLL_SLICE_MS))  # a late answer may still settle it
            return True
        if not socket.poll(POLL_SLICE_MS, zmq.POLLOUT):
            self._buffer.last_error = "no_pipeline"
            return False
        try:
            socket.send(delivery.frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        self._settle(delivery.sent(time.monotonic()))
        return True

    def _listen(self, socket: zmq.Socket[bytes], delivery: Delivery) -> bool:
        """Wait a while for the answer; False when it is overdue."""
        self._hear(socket, delivery, min(delivery.wait_s(time.monotonic()) * 1000, POLL_SLICE_MS))
        if not delivery.timed_out(time.monotonic()):
            return True
        self._buffer.resent("no_answer")
        return False

    def _hear(self, socket: zmq.Socket[bytes], delivery: Delivery, wait_ms: float) -> None:
        if not socket.poll(max(1, int(wait_ms)), zmq.POLLIN):
            return
        frame = socket.recv_multipart(zmq.NOBLOCK)[-1]
        with contextlib.suppress(WireError):
            _, kind, body = unpack_envelope(frame)
            self._settle(delivery.answered(kind, body, time.monotonic()))

    def _settle(self, verdict: Verdict) -> None:
        if verdict.reason is not None:
            self._buffer.last_error = verdict.reason
        if verdict.done or verdict.rejected:
            self._buffer.settle(
                acknowledged=verdict.acknowledged,
                duplicates=verdict.duplicates,
                sent=verdict.sent,
                rejected=verdict.rejected,
            )

    def _ended(self, delivery: Delivery) -> bool:
        """Whether all is delivered after the end began, or the time for it is up."""
        if not self._stopping.is_set():
            return False
        nothing_left = delivery.phase is Phase.IDLE and not self._buffer.stats().buffered
        return nothing_left or time.monotonic() >= self._stop_by_s

    def _no_taker_since(self, since_s: float) -> None:
        if self._stopping.is_set() and self._grace_s is not None and time.monotonic() - since_s >= self._grace_s:
            self._stop_by_s = 0.0

    @contextmanager
    def _socket(self, context: zmq.Context[Any], endpoint: str) -> Iterator[zmq.Socket[bytes]]:
        socket: zmq.Socket[bytes] = context.socket(zmq.DEALER if self._acks else zmq.PUSH)
        socket.setsockopt(zmq.LINGER, 0 if self._acks else PUSH_LINGER_MS)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing queues for a peer that is not there
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        try:
            socket.connect(endpoint)
            yield socket
        finally:
            socket.close()


def is_safe_to_connect(runtime: Path) -> bool:
    """Whether the sockets' directory exists and is ours alone: anyone may make a name in /tmp, and would get our metrics."""
    try:
        found = runtime.lstat()
        parent = runtime.parent.lstat()
    except OSError:
        return False
    return all(stat.S_ISDIR(one.st_mode) and one.st_uid == os.getuid() for one in (found, parent))
