"""A producer that knows every metric it sent and every one that was acknowledged, under a pipeline that is being killed.

Each metric has a duration that no other has, so that the files can be compared with what was acknowledged one by one. Messages
are sent again, with the same (producer, seq), until they are acknowledged.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import zmq

from perfmon.paths import DataDirectory
from perfmon.wire import encode_batch, unpack

SERIES = [("chaos-a", "read"), ("chaos-a", "write"), ("chaos-b", "query"), ("chaos-c", "always_fails")]
ROWS = 200
#: Without an acknowledgement for this long a message is sent again.
RESEND_S = 1.0


@dataclass(slots=True)
class Sent:
    """One message: its frame, and when it went out last."""

    frame: bytes
    first: int
    at: float = 0.0


@dataclass(slots=True)
class Load:
    """About `rate` metrics a second until `stop`; then everything that was sent is acknowledged or the drain fails."""

    data: DataDirectory
    rate: int
    acknowledged: set[int] = field(default_factory=set)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    resent: int = 0
    refused: list[object] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _error: BaseException | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self, drain_s: float = 30.0) -> None:
        """End the load and wait until everything that was sent is acknowledged."""
        self._stopping.set()
        assert self._thread is not None
        self._thread.join(drain_s + 10)
        assert not self._thread.is_alive(), "the load did not end"
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._send_until_stopped()
        except BaseException as error:  # noqa: BLE001 - raised again by stop()
            self._error = error

    def _send_until_stopped(self) -> None:
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        socket.connect(self.data.endpoint("ingest.write"))
        producer = f"chaos-{time.time_ns()}"
        waiting: dict[int, Sent] = {}
        started, seq = time.monotonic(), 0
        deadline = None
        while True:
            now = time.monotonic()
            if self._stopping.is_set():
                deadline = deadline or now + 30
                if not waiting:
                    break
                assert now < deadline, f"{len(waiting)} messages were never acknowledged"
            elif len(waiting) < 200 and (now - started) * self.rate >= seq * ROWS:
                seq += 1
                first = (seq - 1) * ROWS + 1
                waiting[seq] = Sent(self._frame(producer, seq, first), first)
                self._send(socket, waiting[seq], now)
            for sent in waiting.values():
                if now - sent.at > RESEND_S:
                    self.resent += 1
                    self._send(socket, sent, now)
            while socket.poll(2 if not waiting or self._stopping.is_set() else 1):
                self._take(unpack(socket.recv()), waiting)
        socket.close()
        context.term()

    def _send(self, socket: zmq.Socket, sent: Sent, now: float) -> None:
        sent.at = now
        try:
            socket.send(sent.frame, zmq.NOBLOCK)
        except zmq.Again:
            pass  # nobody is there: it goes out with the next resend

    def _take(self, ack: dict, waiting: dict[int, Sent]) -> None:
        sent = waiting.get(ack.get("seq"))
        if sent is None:
            return
        if ack.get("error") or ack["rejectedTotal"]:
            self.refused.append(ack)
            return
        assert ack["stored"] + ack["duplicates"] == ROWS, ack
        del waiting[ack["seq"]]
        for number in range(sent.first, sent.first + ROWS):
            self.acknowledged.add(number)
            key = SERIES[number % len(SERIES)]
            self.counts[key] += 1
            self.failures[key] += not _succeeds(number)

    def _frame(self, producer: str, seq: int, first: int) -> bytes:
        numbers = range(first, first + ROWS)
        now_ms = time.time_ns() // 1_000_000
        return encode_batch(
            SERIES,
            series=[number % len(SERIES) for number in numbers],
            ts=[now_ms] * ROWS,
            duration=[number / 8 for number in numbers],
            ok=[_succeeds(number) for number in numbers],
            memory=[100.0] * ROWS,
            producer=producer,
            seq=seq,
        )


def _succeeds(number: int) -> bool:
    return SERIES[number % len(SERIES)][1] != "always_fails"


def stored_numbers(data: DataDirectory) -> Counter[int]:
    """Every metric in the JSONL files by its number, read without any code of the product.

    A line that is not JSON raises.
    """
    found: Counter[int] = Counter()
    for path in data.metrics.rglob("*.jsonl"):
        raw = path.read_bytes()
        assert raw.endswith(b"\n"), f"{path.name} ends in a torn line"
        for line in raw.splitlines():
            found[round(json.loads(line)["duration"] * 8)] += 1
    return found
