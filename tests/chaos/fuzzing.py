"""Sends hostile messages to a running ingest, takes every answer, and knows what all of them must add up to.

Between the hostile ones go good rows (the witnesses), each with a duration that no other has. What is written on the
acknowledged socket is counted by its answers; what is pushed is counted by the strict way through the door, asked here.
"""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

import zmq

from perfmon.paths import DataDirectory
from perfmon.wire import Kind, WireError, encode_rows, unpack, unpack_envelope
from services.ingest.core.door import MessageRefused, let_in, producer_of
from shared.timespan import HOUR_MS
from tests.chaos.hostile import Hostile, golden

#: Messages that may wait for their answer.
IN_FLIGHT = 256
#: How long an answer may take.
ANSWER_S = 60.0
#: After so many messages other producers' names are used, so that no spoilt sequence makes all that follow stale.
RENEW_EVERY = 500
#: Every so many messages a good row is sent, on either socket.
WITNESS_EVERY = 50
WITNESS = "witness"
#: What is answered by a reply and counted by ingest; other refusals are of requests, which count for themselves.
FRAME_REASONS = frozenset(
    {
        "not_msgpack",
        "not_a_map",
        "no_envelope",
        "unsupported_version",
        "unknown_kind",
        "too_many_frames",
        "frame_too_large",
    }
)


class Fuzzing:
    """One DEALER and one PUSH on an ingest. `rows` and `refused` are what its counters must have grown by."""

    def __init__(self, data: DataDirectory, seed: int) -> None:
        self._seed = seed
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._write = self._socket(zmq.DEALER, data.endpoint("ingest.write"))
        self._push = self._socket(zmq.PUSH, data.endpoint("ingest.push"))
        self._hostile = Hostile(seed, golden(_now_ms(), f"p{seed}"))
        self.sent = self.pushed = self.answered = self._waiting = 0
        self.rows = 0
        self.refused: Counter[str] = Counter()
        self.witnesses: set[float] = set()
        self.doubts: list[Any] = []

    def run(self, messages: int) -> None:
        """Send so many hostile messages, and take the answers of those that are answered."""
        for _ in range(messages):
            total = self.sent + self.pushed
            if total % RENEW_EVERY == 0:
                self._seed += 1
                self._hostile = Hostile(self._seed, golden(_now_ms(), f"p{self._seed}"))
            if total % WITNESS_EVERY == 0:
                self._send_witness(total % (2 * WITNESS_EVERY) == 0)
            frames = self._hostile.frames()
            if total % 4 == 0 and len(frames) == 1 and self.push(frames[0]):
                continue
            self.send(frames)

    def send(self, frames: list[bytes]) -> None:
        """On the acknowledged socket, once there is room."""
        while self._waiting >= IN_FLIGHT:
            self._take()
        self._write.send_multipart(frames)
        self.sent += 1
        self._waiting += 1

    def push(self, frame: bytes) -> bool:
        """On the other socket, if what becomes of it is known beforehand: not when it says whose it is."""
        now = _now_ms()
        try:
            _, kind, body = unpack_envelope(frame)
            if producer_of(body) is not None:
                return False
            arrival = let_in(kind, body, now, now - 24 * HOUR_MS)
        except (WireError, MessageRefused) as refused:
            if str(getattr(refused, "reason", "")) == "bad_producer":
                return False
            self.refused[refused.reason] += 1
        else:
            self.rows += len(arrival.batch)
            self.refused.update(arrival.refused.by_reason)
        self._push.send(frame)
        self.pushed += 1
        return True

    def drain(self) -> None:
        """Take the answers that are still to come."""
        while self._waiting:
            self._take()

    def _send_witness(self, acknowledged: bool) -> None:
        value = float(len(self.witnesses) + 1)
        self.witnesses.add(value)
        row = {"mcpServer": WITNESS, "toolName": f"tool{int(value) % 7}", "duration": value, "success": True}
        frame = encode_rows([row | {"resource": {"cpu": 1.5, "memory": value, "diskIO": None}}])
        if acknowledged:
            self.send([frame])
        else:
            assert self.push(frame)

    def _take(self) -> None:
        deadline = time.monotonic() + ANSWER_S
        while not self._write.poll(1_000):
            assert time.monotonic() < deadline, f"{self._waiting} messages were not answered"
        while self._write.poll(0):
            self._count(unpack(self._write.recv_multipart()[-1]))

    def _count(self, body: dict[str, Any]) -> None:
        if body["kind"] == Kind.CREDIT:
            return
        self._waiting -= 1
        self.answered += 1
        if body["kind"] == Kind.ACK:
            if "error" in body:
                self.refused[body["error"]["code"]] += 1
                return
            self.rows += body["stored"] + body["duplicates"]
            self.refused["rows of the acknowledged"] += body["rejectedTotal"]
        elif not body["ok"]:
            code = body["error"]["code"]
            if code in FRAME_REASONS:
                self.refused[code] += 1
            elif code == "internal_error":
                self.doubts.append(body)

    def _socket(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        made = self._context.socket(kind)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.SNDTIMEO, int(ANSWER_S * 1000))
        made.connect(endpoint)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._write.close(linger=0)
        self._push.close(linger=0)
        self._context.term()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
