"""The load generator, a process of its own: `python -m bench.generator CONFIG`, orders as JSON lines on stdin, answers on stdout.

Encodes its ring of messages first and says `ready`. `closed`: as fast as acknowledgements come, with so many bytes on their way.
`open`: at a fixed rate, whatever the answers do; each answer's wait counts from when its message was due, also if that had
to wait for credit. Both keep within the credit that ingest gives, as every producer does. It ends when its stdin does.
"""

from __future__ import annotations

import ctypes
import json
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

import zmq

from bench.frames import Frame, ring
from bench.schedule import Schedule
from perfmon.producer.window import Window
from perfmon.wire import Kind, unpack

#: Messages that may be on their way, whatever their size (docs/protocol.md, "Credit").
MAX_MESSAGES: Final = 256
#: How long any acknowledgement may take before the run counts as failed.
ANSWER_LIMIT_S: Final = 60.0
#: How long to wait for an acknowledgement or for credit before it is looked again whether a message may be sent.
LOOK_AGAIN_S: Final = 0.5
#: prctl's number for how late a sleep may end; the kernel's default is 50 µs.
_PR_SET_TIMERSLACK: Final = 29


@dataclass(frozen=True, slots=True)
class Config:
    """What is sent and where to. window_bytes: bytes that may wait for their acknowledgement in `closed`."""

    endpoint: str
    shape: str
    rows: int
    ring: int
    window_bytes: int
    producer: str = "bench"


class Refused(RuntimeError):
    """Ingest did not store what it was sent."""


class Generator:
    """One producer on the acknowledged socket, within the window that ingest gives it."""

    def __init__(self, config: Config, frames: Sequence[Frame]) -> None:
        self._config = config
        self._frames = frames
        self._seq = 0
        self._window = Window()
        self._waiting: deque[int] = deque()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 2 * MAX_MESSAGES)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.connect(config.endpoint)

    def closed(self, seconds: float) -> dict[str, float]:
        """Send for so long, then wait for what is on its way."""
        stored, cpu, started = 0, time.process_time(), time.perf_counter()
        until = started + seconds
        while time.perf_counter() < until or self._waiting:
            while time.perf_counter() < until and self._may_send():
                self._send()
            stored += sum(self._acknowledgements())
        elapsed = time.perf_counter() - started
        return {"seconds": elapsed, "stored": stored, "cpu_s": time.process_time() - cpu}

    def open(self, per_s: float, seconds: float) -> dict[str, Any]:
        """Send so many messages a second; the waits of all, in order."""
        schedule, waits = Schedule(per_s, seconds), list[float]()
        stored = sent = 0
        cpu, started = time.process_time(), time.perf_counter()
        while len(waits) < schedule.total:
            due = schedule.due_by(time.perf_counter() - started)
            while sent < due and self._may_send():
                self._send()
                sent += 1
            for acknowledged in self._arrived():
                # Acknowledgements come in order, so the n-th belongs to the message that was due n-th.
                waits.append(schedule.waited_s(len(waits), time.perf_counter() - started))
                stored += acknowledged
            left_s = schedule.due_s(sent) - (time.perf_counter() - started)
            if left_s < -ANSWER_LIMIT_S:
                raise Refused(f"no acknowledgement within {ANSWER_LIMIT_S:g} s")
            blocked = sent < due or sent == schedule.total
            if len(waits) < schedule.total:
                self._sleep(LOOK_AGAIN_S if blocked else left_s)
        elapsed = time.perf_counter() - started
        return {"seconds": elapsed, "stored": stored, "cpu_s": time.process_time() - cpu, "waits_s": waits}

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close(linger=0)

    def _may_send(self) -> bool:
        size = self._next().size_bytes
        within = not self._waiting or self._window.out_bytes + size <= self._config.window_bytes
        return within and len(self._waiting) < MAX_MESSAGES and self._window.allows(size, time.monotonic())

    def _next(self) -> Frame:
        return self._frames[self._seq % len(self._frames)]

    def _send(self) -> None:
        frame = self._next()
        self._seq += 1
        self._socket.send(frame.at(self._seq, time.time_ns() // 1_000_000))
        self._window.sent(frame.size_bytes, time.monotonic())
        self._waiting.append(frame.size_bytes)

    def _acknowledgements(self) -> Iterator[int]:
        """What has arrived; waits for something, unless a message may be sent without."""
        limit_s = ANSWER_LIMIT_S if self._waiting else self._window.wait_s(time.monotonic())
        if not self._socket.poll(int(1000 * limit_s)) and self._waiting:
            raise Refused(f"no acknowledgement within {ANSWER_LIMIT_S:g} s")
        yield from self._arrived()

    def _arrived(self) -> Iterator[int]:
        """The rows of each acknowledgement that is there."""
        with suppress(zmq.Again):
            while True:
                message: dict[str, Any] = unpack(self._socket.recv(zmq.NOBLOCK))
                self._window.told(message.get("credit"), time.monotonic())
                if message["kind"] == Kind.ACK:
                    yield self._stored(message)

    def _stored(self, ack: dict[str, Any]) -> int:
        if "error" in ack or ack["stored"] != self._config.rows:
            raise Refused(str(ack.get("error") or ack)[:300])
        self._window.settled(self._waiting.popleft())
        return int(ack["stored"])

    def _sleep(self, seconds: float) -> None:
        """Sleep, or until something arrives: ZeroMQ's own poll knows whole milliseconds only."""
        # Its descriptor tells of changes, so what is there already has to be asked for first.
        if seconds > 0 and not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            select.select([int(self._socket.getsockopt(zmq.FD))], [], [], seconds)


def main() -> None:
    """Carry out orders until stdin ends."""
    config = Config(**json.loads(sys.argv[1]))
    _sleep_exactly()
    generator = Generator(config, ring(config.shape, config.rows, config.ring, config.producer))
    orders: dict[str, Callable[..., dict[str, Any]]] = {"closed": generator.closed, "open": generator.open}
    _answer({"ready": True} | asdict(config))
    for line in sys.stdin:
        order = json.loads(line)
        try:
            _answer(orders[order.pop("do")](**order))
        except Refused as refused:
            _answer({"refused": str(refused)})
    generator.close()


def _answer(body: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(body) + "\n")
    sys.stdout.flush()


def _sleep_exactly() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)


if __name__ == "__main__":
    main()
