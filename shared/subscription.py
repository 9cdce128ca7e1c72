"""The stream as a consumer hears it: messages that ingest published, of which any may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import zmq

from perfmon.paths import DataDirectory
from perfmon.wire import WireError, unpack_envelope
from perfmon.wire.limits import MAX_ENTRY_BYTES
from shared.decoding import Body

#: Messages the SUB socket may hold while we work; beyond it ZeroMQ drops and the journal fills the gap.
STREAM_HWM: Final = 64
#: Messages taken from the stream in one turn of the loop, so that queries are answered in between.
STREAM_TURN: Final = 64


class Published(NamedTuple):
    """A message of the stream; `entry` is an encoded batch, of an entry alone."""

    kind: str
    header: dict[str, Any]
    entry: Body | None


class Subscription:
    """A SUB socket on everything that ingest publishes."""

    def __init__(self, context: zmq.Context[Any], data: DataDirectory) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.RCVHWM, STREAM_HWM)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_ENTRY_BYTES)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
        self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        self.socket.connect(data.endpoint("stream"))

    def messages(self) -> Iterator[Published]:
        """What has come, up to a limit a turn; what is no message is passed over."""
        for _ in range(STREAM_TURN):
            try:
                frame = self.socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            parts = [frame]
            while parts[-1].more:
                parts.append(self.socket.recv(copy=False))
            try:
                header = unpack_envelope(frame.buffer)
            except WireError:
                continue
            yield Published(header.kind, header.body, parts[1].buffer if len(parts) == 2 else None)

    def close(self) -> None:
        """Let go of the socket."""
        self.socket.close(linger=0)
