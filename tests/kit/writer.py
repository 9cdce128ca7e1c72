"""A producer on the acknowledged socket that reads every acknowledgement."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import zmq

from perfmon.paths import DataDirectory
from perfmon.wire import encode_rows, unpack

#: How long an acknowledgement may take before a test fails.
ACK_TIMEOUT_MS = 15_000


def row(tool: str = "read", server: str = "files", duration: float = 12.5, **more: Any) -> dict[str, Any]:
    """A good row, now."""
    return {"mcpServer": server, "toolName": tool, "duration": duration, "success": True, **more}


class Writer:
    """A DEALER on `ingest.write`."""

    def __init__(self, data: DataDirectory, producer: str | None = None) -> None:
        self.producer = producer
        self.seq = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 10)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 100)
        self.socket.setsockopt(zmq.RCVHWM, 100_000)
        self.socket.setsockopt(zmq.SNDHWM, 100_000)
        self.socket.connect(data.endpoint("ingest.write"))

    def write(
        self, *rows: Mapping[str, Any], seq: int | None = None, timeout_ms: int = ACK_TIMEOUT_MS
    ) -> dict[str, Any]:
        """Send rows in one message and wait for its acknowledgement. With a producer the sequence counts up by itself."""
        if self.producer is not None and seq is None:
            self.seq += 1
            seq = self.seq
        return self.ask(encode_rows(rows, producer=self.producer, seq=seq), timeout_ms=timeout_ms)

    def ask(self, frame: bytes, *, timeout_ms: int = ACK_TIMEOUT_MS) -> dict[str, Any]:
        """Send one frame and take the next message that comes back."""
        self.send(frame)
        return self.receive(timeout_ms=timeout_ms)

    def send(self, frame: bytes | Sequence[bytes]) -> None:
        self.socket.send_multipart([frame] if isinstance(frame, bytes) else list(frame))

    def receive(self, *, timeout_ms: int = ACK_TIMEOUT_MS) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_ms / 1000
        while (left := deadline - time.monotonic()) > 0:
            if self.socket.poll(int(left * 1000) + 1):
                body: dict[str, Any] = unpack(self.socket.recv_multipart()[-1])
                return body
        raise AssertionError(f"no answer within {timeout_ms} ms")

    def silent(self) -> bool:
        """Whether nothing waits to be read right now."""
        return not self.socket.poll(0)

    def close(self) -> None:
        self.socket.close(linger=0)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
