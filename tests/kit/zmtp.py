"""ZMTP 3.0 by hand on an ipc socket, to say what no library would: half a greeting, an odd identity, a lie about lengths."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from tests.kit.waiting import eventually

GREETING = b"\xff" + b"\0" * 8 + b"\x7f\x03\x00NULL" + b"\0" * 48


class Raw:
    """A connected unix socket."""

    def __init__(self, endpoint: str, *, timeout_s: float = 10.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        # Refused at once when too many wait to be accepted, so it is tried again.
        eventually(lambda: self._socket.connect(endpoint.removeprefix("ipc://")) is None, "connected")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def greet(self, kind: str = "DEALER", identity: bytes = b"") -> None:
        """The whole handshake of a client of this kind; reads past the other side's."""
        self.send(GREETING)
        self._read(64)
        fields = b"".join(
            bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value
            for name, value in ((b"Socket-Type", kind.encode()), (b"Identity", identity))
        )
        body = b"\x05READY" + fields
        self.send(b"\x06" + len(body).to_bytes(8, "big") + body)
        _, size = self._read(2)
        self._read(size)

    def message(self, *frames: bytes) -> None:
        for at, frame in enumerate(frames):
            self.send(bytes([2 | (at < len(frames) - 1)]) + len(frame).to_bytes(8, "big") + frame)

    def receive(self) -> bytes:
        """The last frame of the next message."""
        while True:
            flags = self._read(1)[0]
            size = int.from_bytes(self._read(8 if flags & 2 else 1), "big")
            frame = self._read(size)
            if not flags & 5:  # neither more to come nor a command
                return frame

    def closed_by_peer(self) -> bool:
        """Read until the other side closes; whether it did within the time-out."""
        try:
            while self._socket.recv(65_536):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise ConnectionError("closed")
            data += part
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
