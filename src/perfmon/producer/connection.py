"""One connection to ingest, as the sender's thread holds it: a socket, and word of when the other end went away.

ZeroMQ connects again by itself, and what it had sent is lost then without a sign; so the thread listens for the loss, and sends
what was not acknowledged on a connection of its own making.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from perfmon.producer.address import Address
from perfmon.wire.limits import MAX_FRAME_BYTES

#: Pauses between attempts to connect to a pipeline that is down.
RECONNECT_MS: Final = 100
RECONNECT_MAX_MS: Final = 2_000
#: A dead peer on TCP is noticed after this; on ipc the kernel tells.
HEARTBEAT_MS: Final = 2_000
HEARTBEAT_TIMEOUT_MS: Final = 6_000
#: Messages that a fire-and-forget socket may hold, of a megabyte at the very most and of an eighth as a rule.
PUSH_HWM: Final = 32
#: How long a closing fire-and-forget socket may take to get its last messages out.
PUSH_LINGER_MS: Final = 1_000
#: What is said of a handshake that failed; without detail: the other end hung up, as it does on a wrong `serverKey`.
_FAILED: Final = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "keys_refused",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "handshake_failed",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "handshake_failed",
}
_EVENTS: Final = zmq.EVENT_DISCONNECTED | sum(_FAILED)


class Connection:
    """A DEALER that is told when its peer is gone, or a PUSH that need not know.

    refused: whether it ended before anything was heard on it; `failure` says why, if libzmq knows.
    """

    def __init__(self, socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes] | None) -> None:
        self._socket = socket
        self._monitor = monitor
        self._lost = False
        self._heard = False
        self.failure: str | None = None

    def takes(self) -> bool:
        """Whether there is a peer, and room for a message."""
        return bool(_events(self._socket) & zmq.POLLOUT)

    def send(self, frame: bytes) -> bool:
        """Whether the socket took it."""
        try:
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def frames(self) -> Iterator[bytes]:
        """What has come in."""
        while self._monitor is not None and _events(self._socket) & zmq.POLLIN:
            self._heard = True
            yield self._socket.recv_multipart(zmq.NOBLOCK)[-1]

    def lost(self) -> bool:
        """Whether the peer went away, or would not have us."""
        while self._monitor is not None and _events(self._monitor) & zmq.POLLIN:
            self._lost = True
            event = recv_monitor_message(self._monitor)["event"]
            self.failure = self.failure or _FAILED.get(zmq.Event(event))
        return self._lost

    @property
    def refused(self) -> bool:
        """As far as `lost` and `frames` have seen; also once it is closed."""
        return self._lost and not self._heard

    def wait(self, wait_ms: float, *, for_room: bool = False) -> None:
        """Until something comes in, the peer goes away, or there is room; at most so long."""
        poller = zmq.Poller()
        wanted = 0 if self._monitor is None else zmq.POLLIN
        poller.register(self._socket, wanted | zmq.POLLOUT if for_room else wanted)
        if self._monitor is not None:
            poller.register(self._monitor, zmq.POLLIN)
        poller.poll(max(1, int(wait_ms)))


@contextmanager
def connected(context: zmq.Context[Any], address: Address, *, acks: bool) -> Iterator[Connection]:
    """A connection that is being made; messages go out once `takes` says so."""
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER if acks else zmq.PUSH)
    monitor: zmq.Socket[bytes] | None = None
    try:
        socket.setsockopt(zmq.LINGER, 0 if acks else PUSH_LINGER_MS)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing queues for a peer that is not there
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        if not acks:
            socket.setsockopt(zmq.SNDHWM, PUSH_HWM)
        if acks:
            monitor = socket.get_monitor_socket(_EVENTS)
        if address.keys is not None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, address.keys.server_key.encode())
            socket.setsockopt(zmq.CURVE_PUBLICKEY, address.keys.public_key.encode())
            socket.setsockopt(zmq.CURVE_SECRETKEY, address.keys.secret_key.encode())
        if address.endpoint.startswith("tcp://"):
            socket.setsockopt(zmq.IPV6, 1)  # both versions
        socket.connect(address.endpoint)
        yield Connection(socket, monitor)
    finally:
        if monitor is not None:
            socket.disable_monitor()
            monitor.close(linger=0)
        socket.close()


def _events(socket: zmq.Socket[bytes]) -> int:
    events = socket.getsockopt(zmq.EVENTS)
    return events if isinstance(events, int) else 0
