"""A producer that knows every metric it sent and every one that was acknowledged, under processes that are being killed.

A thread sends numbered metrics at a rate, as batches and as rows, and sends a message again, with the same (producer, seq),
until it is acknowledged. Nothing here knows how metrics are stored: that is `checker`'s.
"""

from __future__ import annotations

import random
import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zmq

from perfmon.paths import DataDirectory
from perfmon.wire import unpack
from tests.chaos.numbered import SERIES, Pair, batch_frame, rows_frame
from tests.kit.waiting import eventually

#: Metrics of one message at most.
ROWS = 400
#: Messages that may wait for their acknowledgement: together below the window of a new connection.
IN_FLIGHT = 40
#: Without an acknowledgement for this long a message is sent again.
RESEND_S = 0.5
#: One that nobody was there for goes out again so soon.
RETRY_S = 0.05
#: How long everything that was sent may take to be acknowledged once no more is sent.
SETTLE_S = 60.0
#: Codes with which a message is refused that may be sent again.
TRANSIENT = ("disk_full", "storage_failed", "journal_full")

#: Number and clock (epoch ms) → the metric's timestamp (epoch ms).
Moment = Callable[[int, int], int]


@dataclass(slots=True)
class Sent:
    """One message: its frame, its first number, how many metrics, and when it went out last."""

    frame: bytes
    first: int
    rows: int
    at: float = 0.0


class Load:
    """About `rate` metrics a second between `start` and `stop`, except while it is paused by `settle`.

    `series`: number → series by remainder. `moment`: the timestamps, the clock's unless told otherwise. `seed`: the sizes of
    messages.
    """

    def __init__(
        self,
        data: DataDirectory,
        rate: int,
        *,
        series: Sequence[Pair] = SERIES,
        moment: Moment = lambda _, now_ms: now_ms,
        seed: int = 1,
    ) -> None:
        self._eras: list[tuple[int, tuple[Pair, ...]]] = [(1, tuple(series))]
        self.acknowledged: set[int] = set()
        self.sent_total = 0
        self.resent_total = 0
        self.refused: list[object] = []
        self._endpoint = data.endpoint("ingest.write")
        self._rate = rate
        self._moment = moment
        self._random = random.Random(seed)
        self._producer = f"chaos-{seed}-{time.time_ns()}"
        self._seq = 0
        self._ts = array("q")
        self._waiting: dict[int, Sent] = {}
        self._paused = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._error: BaseException | None = None

    def start(self) -> Load:
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the load once everything that was sent is acknowledged."""
        self.settle()
        self.end()

    def end(self) -> None:
        """End the load as it stands; idempotent."""
        self._stopping.set()
        self._thread.join(10)
        assert not self._thread.is_alive(), "the load did not end"

    def settle(self) -> None:
        """Send nothing new, and wait until everything that was sent is acknowledged; `resume` goes on."""
        self._paused.set()
        self.wait(lambda: not self._waiting, "everything sent is acknowledged", timeout_s=SETTLE_S)

    def resume(self) -> None:
        self._paused.clear()

    def wait_for(self, more: int, timeout_s: float = SETTLE_S) -> None:
        """Wait until so many more are acknowledged."""
        goal = len(self.acknowledged) + more
        self.wait(lambda: len(self.acknowledged) >= goal, f"{more} more are acknowledged", timeout_s=timeout_s)

    def wait(self, condition: Callable[[], object], what: str, *, timeout_s: float) -> None:
        """Wait for a condition as long as the load runs."""
        eventually(lambda: condition() or self._error, what, timeout_s=timeout_s)
        if self._error is not None:
            raise self._error

    def ts_of(self, number: int) -> int:
        """A sent metric's timestamp, epoch ms."""
        return self._ts[number - 1]

    def pair_of(self, number: int) -> Pair:
        """A sent metric's series."""
        series = self._eras[bisect_right(self._eras, number, key=lambda era: era[0]) - 1][1]
        return series[number % len(series)]

    def change_series(self, series: Sequence[Pair]) -> None:
        """From now on the metrics are of these series. The load must be settled."""
        self._eras.append((self.sent_total + 1, tuple(series)))

    # --- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.RECONNECT_IVL, 10),
            (zmq.RECONNECT_IVL_MAX, 50),
            (zmq.IMMEDIATE, 1),
        ):
            socket.setsockopt(option, value)
        socket.connect(self._endpoint)
        try:
            self._send_and_take(socket)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            self._error = error
        finally:
            socket.close(linger=0)
            context.term()

    def _send_and_take(self, socket: zmq.Socket[bytes]) -> None:
        due_at = time.monotonic()
        while not self._stopping.is_set():
            now = time.monotonic()
            if not self._paused.is_set() and now >= due_at and len(self._waiting) < IN_FLIGHT:
                sent = self._next()
                due_at = max(due_at, now - 0.1) + sent.rows / self._rate
                self._send(socket, sent, now)
            for sent in list(self._waiting.values()):
                if now - sent.at > RESEND_S:
                    self.resent_total += 1
                    self._send(socket, sent, now)
            wait_ms = 1 if due_at - now > 0.001 or self._paused.is_set() or len(self._waiting) >= IN_FLIGHT else 0
            while socket.poll(wait_ms):
                self._take(unpack(socket.recv()))
                wait_ms = 0

    def _next(self) -> Sent:
        self._seq += 1
        rows, now_ms = self._random.randint(1, ROWS), time.time_ns() // 1_000_000
        numbers = range(self.sent_total + 1, self.sent_total + 1 + rows)
        ts = array("q", [self._moment(number, now_ms) for number in numbers])
        frame_of = rows_frame if self._seq % 8 == 0 else batch_frame
        sent = Sent(frame_of(numbers, ts, self._eras[-1][1], self._producer, self._seq), numbers[0], rows)
        self._ts.extend(ts)
        self.sent_total += rows
        self._waiting[self._seq] = sent
        return sent

    def _send(self, socket: zmq.Socket[bytes], sent: Sent, now: float) -> None:
        sent.at = now
        try:
            socket.send(sent.frame, zmq.NOBLOCK)
        except zmq.Again:
            sent.at = now - RESEND_S + RETRY_S

    def _take(self, ack: dict) -> None:
        sent = self._waiting.get(ack.get("seq"))
        if sent is None:
            return
        error = ack.get("error")
        if error is not None and error["code"] in TRANSIENT:
            return
        if error is not None or ack["rejectedTotal"]:
            self.refused.append(ack)
            raise AssertionError(f"the load was refused: {ack}")
        assert ack["stored"] + ack["duplicates"] == sent.rows, ack
        self.acknowledged.update(range(sent.first, sent.first + sent.rows))
        del self._waiting[ack["seq"]]
