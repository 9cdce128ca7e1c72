"""Tell ingest how far a consumer has saved, so that it may drop the journal's segments before that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import zmq

from perfmon.rpc import new_request_id
from perfmon.wire import WireError, request, unpack_envelope
from shared.consumer_state import Position
from shared.runtime.service import Service

#: How often a place that is new is told, and one that was not answered again.
PROGRESS_S: Final = 1.0


class ProgressReport:
    """A socket to ingest on the service's loop; never waits for an answer."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._saved: Callable[[], Position] = lambda: Position("", 0)
        self._told: Position | None = None
        self._asked: Position | None = None
        self._ingest: zmq.Socket[bytes] = service.context.socket(zmq.DEALER)
        self._ingest.setsockopt(zmq.LINGER, 0)
        self._ingest.setsockopt(zmq.IMMEDIATE, 1)
        self._ingest.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
        self._ingest.connect(service.data.endpoint("ingest"))

    def start(self, saved: Callable[[], Position]) -> None:
        """Tell from now on what `saved` says."""
        self._saved = saved
        self._service.watch(self._ingest, self._on_reply)
        self._service.every(PROGRESS_S, self._tell)

    def close(self) -> None:
        """Let go of the socket."""
        self._ingest.close(linger=0)

    def _tell(self) -> None:
        saved = self._saved()
        if not saved.epoch or saved == self._told:
            return
        params = {"service": self._service.name, "epoch": saved.epoch, "seq": saved.seq}
        try:
            self._ingest.send(request(new_request_id(), "progress", params), zmq.NOBLOCK)
        except zmq.Again:
            return
        self._asked = saved

    def _on_reply(self) -> None:
        while True:
            try:
                frames = self._ingest.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                body = unpack_envelope(frames[-1]).body
            except WireError:
                continue
            if body.get("ok"):
                self._told = self._asked
