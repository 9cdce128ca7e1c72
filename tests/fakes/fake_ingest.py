"""A small ingest in this process: a ROUTER that stores once per (producer, sequence) and can be told to refuse or be silent."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import zmq

from perfmon.wire import ack_reply, unpack_envelope

Body = dict[str, Any]


class FakeIngest:
    """Answers on a thread. `script` decides per message: "ack", "silent", or an error code; "ack" when it is empty."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.script: list[str] = []
        self.stored: list[Body] = []
        self.messages: list[Body] = []
        self.refuse_row: Callable[[Body], str | None] = lambda _row: None
        self._last: dict[str, int] = {}
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._entries = itertools.count(1)

    def start(self) -> FakeIngest:
        self._stop.clear()
        bound = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(bound,), daemon=True)
        self._thread.start()
        assert bound.wait(5)
        return self

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), (len(self.stored), len(self.messages))

    def _run(self, bound: threading.Event) -> None:
        context: zmq.Context[Any] = zmq.Context()
        router = context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        router.bind(self.endpoint)
        bound.set()
        try:
            while not self._stop.is_set():
                if router.poll(20):
                    *envelope, frame = router.recv_multipart()
                    reply = self._answer(unpack_envelope(frame).body)
                    if reply is not None:
                        router.send_multipart([*envelope, reply])
        finally:
            router.close()
            context.term()

    def _answer(self, body: Body) -> bytes | None:
        with self._changed:
            self.messages.append(body)
            what = self.script.pop(0) if self.script else "ack"
            reply = self._decide(body, what)
            self._changed.notify_all()
            return reply

    def _decide(self, body: Body, what: str) -> bytes | None:
        producer, seq, rows = body["producer"], body["seq"], body["rows"]
        if what not in ("ack", "silent"):
            return _ack(body, self._last.get(producer, 0), 0, 0, [], 0, error=(what, "told to"))
        known = seq <= self._last.get(producer, 0)
        rejected = [(i, why) for i, row in enumerate(rows) if (why := self.refuse_row(row)) is not None]
        if not known:
            refused = {index for index, _ in rejected}
            self.stored.extend(row for i, row in enumerate(rows) if i not in refused)
            self._last[producer] = seq
        if what == "silent":
            return None  # committed, but the answer is lost
        kept = len(rows) - len(rejected)
        return _ack(body, seq, 0 if known else kept, kept if known else 0, rejected, next(self._entries))


def _ack(
    body: Body,
    cumulative: int,
    stored: int,
    duplicates: int,
    rejected: list[tuple[int, str]],
    entry: int,
    error: tuple[str, str] | None = None,
) -> bytes:
    return ack_reply(
        producer=body["producer"],
        seq=body["seq"],
        cumulative=cumulative,
        stored=stored,
        duplicates=duplicates,
        rejected=rejected,
        rejected_total=len(rejected),
        epoch="e",
        entry=entry,
        first_row=0,
        error=error,
    )
