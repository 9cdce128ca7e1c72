"""A stream between ingest and its consumers that repeats, shuffles and drops what it is told."""

from __future__ import annotations

import random
import threading
from types import TracebackType
from typing import Self

import zmq

from perfmon.paths import DataDirectory


class BadStream:
    """Takes over the name of the stream: consumers that connect from now on hear this one, fed by ingest's own.

    A second bind on an ipc path takes its new clients (ZeroMQ); ingest's own socket goes on under the descriptor it has, so
    this one must be connected to it first.
    """

    def __init__(self, data: DataDirectory, seed: int) -> None:
        self.repeated_total = self.dropped_total = self.shuffled_total = 0
        self._random = random.Random(seed)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        endpoint = data.endpoint("stream")
        self._from_ingest = self._context.socket(zmq.SUB)
        self._from_ingest.setsockopt(zmq.RCVHWM, 0)
        self._from_ingest.setsockopt(zmq.SUBSCRIBE, b"")
        self._from_ingest.connect(endpoint)
        assert self._from_ingest.poll(10_000), "ingest's stream is silent"
        self._to_consumers = self._context.socket(zmq.PUB)
        self._to_consumers.setsockopt(zmq.SNDHWM, 0)
        self._to_consumers.bind(endpoint)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bad-stream", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join(10)
        for socket in (self._from_ingest, self._to_consumers):
            socket.close(linger=0)
        self._context.term()

    def _run(self) -> None:
        held: list[list[bytes]] = []
        while not self._ending.is_set():
            if self._from_ingest.poll(20):
                held.append(self._from_ingest.recv_multipart())
            if held and (len(held) >= 6 or not self._from_ingest.poll(20)):
                self._pass_on(held)
                held = []

    def _pass_on(self, held: list[list[bytes]]) -> None:
        if self._random.random() < 0.5:
            self._random.shuffle(held)
            self.shuffled_total += len(held)
        for frames in held:
            chance = self._random.random()
            if chance < 0.25:
                self.dropped_total += 1
                continue
            self._to_consumers.send_multipart(frames)
            if chance < 0.6:
                self.repeated_total += 1
                self._to_consumers.send_multipart(frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
