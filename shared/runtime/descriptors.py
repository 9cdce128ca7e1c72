"""A process's descriptors: the limit on them, how many are open, and what is done before there are none left.

Each producer on this machine is one, and libzmq aborts a process that has none left for the next connection. So when few are left
all sockets leave off listening, which cuts their connections, and listen again a moment later: clients connect anew and send
again what was not acknowledged. Knows nothing of who connects.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
import zmq

#: Files and connections a process may hold, where the system allows it.
DESCRIPTORS: Final = 65_536
#: The part of the limit, and the least number, that is kept free for what comes between two looks.
SPARE_SHARE: Final = 1 / 4
SPARE_LEAST: Final = 64
#: Pause between two looks, and when more than half of the limit is open.
LOOK_S: Final = 0.25
LOOK_SOON_S: Final = 0.01
#: How long nobody can connect after all were cut off.
CLOSED_S: Final = 1.0


def allow_descriptors() -> None:
    """Raise the limit on open descriptors, which is 1,024 by default, as far as it goes without asking."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit() -> int:
    """How many this process may open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def count_open() -> int | None:
    """How many are open; None where the system does not tell. Takes milliseconds when there are many thousands."""
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir()) - 1  # without the one that lists them
    except OSError:
        return None


class ConnectionGuard:
    """Looks after bound sockets; `after(seconds, callback)` is the loop's."""

    def __init__(self, after: Callable[[float, Callable[[], None]], None]) -> None:
        self.cut_total = 0
        self._after = after
        self._sockets: dict[zmq.Socket[Any], str] = {}
        self._probe = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._limit = limit()
        self._full_at = self._limit - max(int(self._limit * SPARE_SHARE), SPARE_LEAST)
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Look from now on."""
        self._look()

    def add(self, socket: zmq.Socket[Any]) -> None:
        """Look after a socket that was bound to one endpoint."""
        self._sockets[socket] = socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def stop(self) -> None:
        """Leave the sockets alone: their owners close them."""
        self._sockets.clear()

    def _look(self) -> None:
        lowest = self._lowest_free()
        if lowest >= self._full_at:
            self._cut()
            self._after(CLOSED_S, self._listen_again)
        else:
            self._after(LOOK_SOON_S if lowest > self._limit // 2 else LOOK_S, self._look)

    def _lowest_free(self) -> int:
        """About how many are open: the system gives the lowest number that is free."""
        try:
            lowest = os.dup(self._probe)
        except OSError:
            return self._limit
        os.close(lowest)
        return lowest

    def _cut(self) -> None:
        self.cut_total += 1
        self._log.warning("too_many_connections", open=count_open(), limit=self._limit)
        for socket, endpoint in self._sockets.items():
            with contextlib.suppress(zmq.ZMQError):  # it does not listen: it failed to, the last time
                socket.unbind(endpoint)

    def _listen_again(self) -> None:
        failed = False
        for socket, endpoint in self._sockets.items():
            try:
                socket.bind(endpoint)
            except zmq.ZMQError as error:
                failed = True
                self._log.error("cannot_listen", endpoint=endpoint, reason=str(error))
        if failed:
            self._cut()
            self._after(CLOSED_S, self._listen_again)
        else:
            self._look()
