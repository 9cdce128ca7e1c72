"""The load generator for VictoriaMetrics, a process of its own: `python -m bench.vm_generator CONFIG`, as `bench.generator`.

Some connections, each with a request on its way all the time; bodies are encoded first and get new timestamps each time.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from bench.load import columns
from bench.vm_bodies import FORMATS, Body

#: How long an answer may take.
ANSWER_LIMIT_S: Final = 60.0
#: An answer's head is shorter.
_ANSWER_BYTES: Final = 4_096


@dataclass(frozen=True, slots=True)
class Config:
    """What is sent and where to. ring: bodies of each connection."""

    port: int
    format: str
    rows: int
    ring: int
    connections: int


class Refused(RuntimeError):
    """VictoriaMetrics did not take what it was sent."""


class Connection:
    """One HTTP connection, kept open."""

    def __init__(self, config: Config, bodies: Sequence[Body]) -> None:
        self.accepted = 0
        self.failure: Exception | None = None
        self._format = FORMATS[config.format]
        self._bodies = bodies
        self._socket = socket.create_connection(("127.0.0.1", config.port), timeout=ANSWER_LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send_until(self, until: float) -> None:
        """One request after the other until that time; what went wrong is in `failure`."""
        number = 0
        try:
            while time.perf_counter() < until:
                body = self._bodies[number % len(self._bodies)]
                self._post(body.at(time.time_ns() // 1_000_000))
                self.accepted += body.rows
                number += 1
        except (OSError, Refused) as error:
            self.failure = error

    def _post(self, body: bytearray) -> None:
        head = f"POST {self._format.path} HTTP/1.1\r\nHost: localhost\r\n{self._format.headers}"
        self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        self._socket.sendall(body)
        answer = self._socket.recv(_ANSWER_BYTES)
        while b"\r\n\r\n" not in answer:
            more = self._socket.recv(_ANSWER_BYTES)
            if not more:
                raise Refused("the connection was closed")
            answer += more
        if not answer.startswith((b"HTTP/1.1 204", b"HTTP/1.1 200")):
            raise Refused(answer[:300].decode("latin-1"))


def main() -> None:
    """Carry out orders until stdin ends."""
    config = Config(**json.loads(sys.argv[1]))
    make = FORMATS[config.format].make
    rings = [
        [make(columns(config.rows, 1 + place * config.ring + number)) for number in range(config.ring)]
        for place in range(config.connections)
    ]
    _answer({"ready": True} | asdict(config))
    for line in sys.stdin:
        try:
            _answer(_closed(config, rings, json.loads(line)["seconds"]))
        except (OSError, Refused) as error:
            _answer({"refused": str(error)})


def _closed(config: Config, rings: Sequence[Sequence[Body]], seconds: float) -> dict[str, Any]:
    connections = [Connection(config, bodies) for bodies in rings]
    started = time.perf_counter()
    threads = [threading.Thread(target=one.send_until, args=(started + seconds,)) for one in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in connections:
        if one.failure is not None:
            raise Refused(str(one.failure))
    return {"seconds": time.perf_counter() - started, "stored": sum(one.accepted for one in connections)}


def _answer(body: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(body) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
