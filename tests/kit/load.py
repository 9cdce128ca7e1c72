"""A producer that knows every row it sent and every one that was acknowledged, while ingest is being killed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import zmq

from perfmon.paths import DataDirectory
from perfmon.wire import encode_rows, unpack
from tests.kit.writer import row

#: Messages that may wait for their acknowledgement.
IN_FLIGHT = 64
#: Without an acknowledgement for this long a message is sent again.
RESEND_S = 0.5
#: How long everything that was sent may take to be acknowledged.
DRAIN_S = 30.0


class AcknowledgedLoad:
    """Each row has a duration of its own; a message is sent again, with its (producer, seq), until it is acknowledged."""

    def __init__(self, data: DataDirectory, *, seed: int) -> None:
        self.acknowledged: set[float] = set()
        self.sent: set[float] = set()
        self.resent_total = 0
        self._random = random.Random(seed)
        self._producer = f"load-{seed}-{time.time_ns()}"
        self._seq = 0
        self._waiting: dict[int, tuple[bytes, list[float], float]] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 10)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 100)
        self._socket.connect(data.endpoint("ingest.write"))

    def run_until_acknowledged(self, rows: int) -> None:
        """Send until so many more rows are acknowledged."""
        goal = len(self.acknowledged) + rows
        deadline = time.monotonic() + DRAIN_S
        while len(self.acknowledged) < goal:
            assert time.monotonic() < deadline, f"{goal - len(self.acknowledged)} rows were not acknowledged"
            self.send_some()
            self._take(10)

    def run_for(self, seconds: float) -> None:
        """Send for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.send_some()
            self._take(5)

    def drain(self) -> None:
        """Until every row that was sent is acknowledged."""
        deadline = time.monotonic() + DRAIN_S
        while self._waiting:
            assert time.monotonic() < deadline, f"{len(self._waiting)} messages were never acknowledged"
            self._send_again()
            self._take(20)
        assert self.acknowledged == self.sent

    def send_some(self) -> None:
        """New messages as far as there is room, and those that waited too long again."""
        while len(self._waiting) < IN_FLIGHT:
            self._seq += 1
            first = len(self.sent)
            values = [float(value) for value in range(first, first + self._random.randint(1, 40))]
            rows = [
                row(duration=value, tool=f"tool{int(value) % 5}", error="e" * 200, success=False) for value in values
            ]
            frame = encode_rows(rows, producer=self._producer, seq=self._seq)
            self.sent.update(values)
            self._waiting[self._seq] = (frame, values, time.monotonic())
            self._send(frame)
        self._send_again()

    def check(self, records: Iterable[dict[str, Any]]) -> None:
        """Acknowledged is a part of stored, each once, and nothing was stored that was not sent."""
        counts = Counter(record["duration"] for record in records)
        doubled = [value for value, count in counts.items() if count > 1]
        lost = self.acknowledged - set(counts)
        assert not doubled, f"{len(doubled)} rows doubled: {sorted(doubled)[:10]}"
        assert not lost, f"{len(lost)} acknowledged rows lost: {sorted(lost)[:10]}"
        assert set(counts) <= self.sent

    def close(self) -> None:
        self._socket.close(linger=0)
        self._context.term()

    def _send_again(self) -> None:
        now = time.monotonic()
        for seq, (frame, values, sent_at) in self._waiting.items():
            if now - sent_at > RESEND_S:
                self._waiting[seq] = (frame, values, now)
                self.resent_total += 1
                self._send(frame)

    def _send(self, frame: bytes) -> None:
        try:
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            pass  # nobody is there: it goes out with the next round

    def _take(self, wait_ms: int) -> None:
        while self._socket.poll(wait_ms):
            ack = unpack(self._socket.recv())
            wait_ms = 0
            waiting = self._waiting.get(ack.get("seq"))
            if waiting is None or "error" in ack:
                continue
            assert ack["stored"] + ack["duplicates"] == len(waiting[1]), ack
            del self._waiting[ack["seq"]]
            self.acknowledged.update(waiting[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
