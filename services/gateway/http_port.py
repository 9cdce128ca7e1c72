"""Which port the HTTP gateway listens on, and what is written down and said of it.

Claude Code's hooks and HTTP clients hold the port: it stays the same from start to start as long as nobody else takes it, a
data directory that has to move goes to a port of its own, and goes back when it can.
"""

from __future__ import annotations

import socket
from typing import Any, Final

from perfmon.http_access import DEFAULT_HOST, HttpAccess, load, load_or_create, own_ports
from perfmon.paths import DataDirectory

#: Connections that wait to be accepted.
BACKLOG: Final = 128


def open_port(data: DataDirectory, preferred_port: int, log: Any, *, chosen: bool) -> tuple[socket.socket, HttpAccess]:
    """`listen`, and a warning in the log when it became another port than clients were told of.

    Raises: OSError when not even a free port can be had.
    """
    before = load(data)
    told = preferred_port if before is None else before.home_port
    listener, access = listen(data, preferred_port, chosen=chosen)
    if access.port != told:
        advice = "connect again what posts there: perfmon connect claude-code"
        log.warning("http_port_moved", expected_port=told, port=access.port, advice=advice)
    return listener, access


def listen(data: DataDirectory, preferred_port: int, *, chosen: bool = False) -> tuple[socket.socket, HttpAccess]:
    """A listening socket on the port that clients were told of, else on the last one, else on the preferred one (which comes
    first when someone chose it), else on one of the data directory's own, else on any; what it became is written down.

    Raises: OSError when not even a free port can be had.
    """
    known = load(data)
    host = known.host if known is not None else DEFAULT_HOST
    remembered = [known.home_port, known.port] if known is not None else []
    wanted = [preferred_port, *remembered] if chosen else [*remembered, preferred_port]
    listener = _first_free(host, [*wanted, *own_ports(data), 0])
    port = listener.getsockname()[1]
    # A port that someone chose is what clients are told of from now on; any other move is for as long as it must be.
    left = None if known is None or (chosen and port == preferred_port) else known.home_port
    return listener, load_or_create(data, host=host, port=port, left_port=left)


def _first_free(host: str, ports: list[int]) -> socket.socket:
    for port in ports[:-1]:
        try:
            return _bind(host, port)
        except OSError:
            continue
    return _bind(host, ports[-1])


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
