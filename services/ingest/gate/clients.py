"""One socket to ingest for each client, so that ingest sees each as a connection of its own, with its own credit.

A client is the identity that the TCP socket gave it. A socket that was not used for a while is closed; a client that comes again
gets a new one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import zmq

from perfmon.wire import MAX_FRAME_BYTES

#: Clients that are told apart at the same time; the one silent for the longest goes first.
MAX_CLIENTS: Final = 256
#: After so long without a message in either direction a client's socket is closed.
IDLE_S: Final = 120.0
#: Messages on their way to ingest, a client; beyond it the gate reads no more from anybody.
SEND_HWM: Final = 64

Socket = zmq.Socket[bytes]


class Clients:
    """The sockets by client. `opened` and `closing` are told of each, to watch it and to leave off."""

    def __init__(
        self, endpoint: str, opened: Callable[[bytes, Socket], None], closing: Callable[[Socket], None]
    ) -> None:
        self._endpoint = endpoint
        self._opened = opened
        self._closing = closing
        self._context: zmq.Context[Socket] = zmq.Context()
        self._sockets: OrderedDict[bytes, tuple[Socket, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sockets)

    def socket(self, client: bytes, now_s: float) -> Socket:
        """The socket of a client that just wrote or is answered."""
        known = self._sockets.get(client)
        socket = self._open(client) if known is None else known[0]
        self._sockets[client] = (socket, now_s)
        self._sockets.move_to_end(client)
        while len(self._sockets) > MAX_CLIENTS:
            self._close(next(iter(self._sockets)))
        return socket

    def expire(self, now_s: float) -> None:
        """Close the sockets that were not used for a while."""
        while self._sockets:
            client, (_, used_s) = next(iter(self._sockets.items()))
            if now_s - used_s < IDLE_S:
                return
            self._close(client)

    def close(self) -> None:
        """Close all."""
        for client in list(self._sockets):
            self._close(client)
        self._context.term()

    def _open(self, client: bytes) -> Socket:
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        socket.setsockopt(zmq.SNDHWM, SEND_HWM)
        socket.connect(self._endpoint)
        self._opened(client, socket)
        return socket

    def _close(self, client: bytes) -> None:
        socket, _ = self._sockets.pop(client)
        self._closing(socket)
        socket.close(linger=0)
