"""Producers over TCP: a key ring in the home of the services under test, and sockets with any keys or none."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import zmq

from perfmon.keys import ClientKeys, KeyRing
from perfmon.paths import DataDirectory
from perfmon.rpc import RpcClient
from perfmon.wire import unpack


def ring_of(data: DataDirectory) -> KeyRing:
    """The key ring that services of `ServiceProcess` read."""
    folder = data.root.parent / "home" / ".config" / "perfmon" / "keys"
    folder.parent.mkdir(parents=True, exist_ok=True)
    return KeyRing(folder)


def free_port() -> int:
    """A port that nobody has right now, below those that the kernel gives to clients."""
    for port in range(20_000 + os.getpid() % 5_000, 32_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def gate_stats(data: DataDirectory) -> dict[str, Any]:
    """The gate's own figures."""
    with RpcClient(data.endpoint("ingest.gate"), timeout_s=2.0) as client:
        found: dict[str, Any] = client.call("stats")
        return found


@contextmanager
def dealer(
    endpoint: str, keys: ClientKeys | None = None, *, options: Mapping[int, int | bytes] | None = None
) -> Iterator[zmq.Socket[bytes]]:
    """A DEALER that connects with these keys, or without CURVE."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = context.socket(zmq.DEALER)
    made.setsockopt(zmq.LINGER, 0)
    made.setsockopt(zmq.RECONNECT_IVL, 20)
    made.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
    for option, value in (options or {}).items():
        made.setsockopt(option, value)
    if keys is not None:
        made.setsockopt(zmq.CURVE_SERVERKEY, keys.server_key.encode())
        made.setsockopt(zmq.CURVE_PUBLICKEY, keys.public_key.encode())
        made.setsockopt(zmq.CURVE_SECRETKEY, keys.secret_key.encode())
    made.connect(endpoint)
    try:
        yield made
    finally:
        made.close(linger=0)
        context.term()


def answer(asker: zmq.Socket[bytes], *, timeout_s: float = 10.0) -> dict[str, Any]:
    """The next message that comes back."""
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        if asker.poll(int(left * 1000) + 1):
            found: dict[str, Any] = unpack(asker.recv_multipart()[-1])
            return found
    raise AssertionError(f"no answer within {timeout_s:g} s")
