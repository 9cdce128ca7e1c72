"""A small ingest in this process: a ROUTER that stores once per (producer, sequence) and can be told to refuse, to be silent, to
hold its answers back, and how much credit to give.
"""

from __future__ import annotations

import itertools
import queue
import threading
from array import array
from collections.abc import Callable
from typing import Any

import zmq

from perfmon.wire import INITIAL_CREDIT_BYTES, ack_reply, credit_message, unpack_envelope

Body = dict[str, Any]


class FakeIngest:
    """Answers on a thread. `script` decides per message: "ack", "silent", or an error code; "ack" when it is empty.

    credit: what acknowledgements grant, None: nothing, as an ingest of protocol 1.0. holds: keep answers until `release`; a
    producer that waits for too long connects anew, so each connection is looked at for itself. excesses: messages that went
    beyond the window of their connection, as (bytes that were out, window).
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.script: list[str] = []
        self.stored: list[Body] = []
        self.messages: list[Body] = []
        self.sizes: list[int] = []
        self.refuse_row: Callable[[Body], str | None] = lambda _row: None
        self.credit: int | None = None
        self.holds = False
        self.held: list[tuple[list[bytes], Body, int]] = []
        self.excesses: list[tuple[int, int]] = []
        self._windows: dict[bytes, int] = {}
        self._known: set[tuple[str, int]] = set()
        self._peers: set[bytes] = set()
        self._orders: queue.SimpleQueue[Callable[[zmq.Socket[bytes]], None]] = queue.SimpleQueue()
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
            assert self._changed.wait_for(condition, timeout_s), (len(self.stored), len(self.messages), len(self.held))

    def out(self) -> list[int]:
        """The sizes of the messages that are out on the newest connection: received and not acknowledged."""
        held = list(self.held)
        return [size for envelope, _, size in held if envelope[0] == held[-1][0][0]]

    def highest_seq(self) -> int:
        return max((body["seq"] for body in list(self.messages)), default=0)

    def release(self, messages: int) -> None:
        """Answer so many of the held messages, oldest first."""

        def answer(router: zmq.Socket[bytes]) -> None:
            for _ in range(min(messages, len(self.held))):
                envelope, body, _ = self.held.pop(0)
                self._reply(router, envelope, body)

        self._order(answer)

    def send_credit(self, credit: int) -> None:
        """A `credit` message to everybody, and the same in acknowledgements from now on."""
        self.credit = credit

        def tell(router: zmq.Socket[bytes]) -> None:
            for peer in self._peers:
                self._windows[peer] = credit
                router.send_multipart([peer, credit_message(credit)])

        self._order(tell)

    def _order(self, order: Callable[[zmq.Socket[bytes]], None]) -> None:
        done = threading.Event()

        def carry_out(router: zmq.Socket[bytes]) -> None:
            with self._changed:
                order(router)
                self._changed.notify_all()
            done.set()

        self._orders.put(carry_out)
        assert done.wait(5)

    def _run(self, bound: threading.Event) -> None:
        context: zmq.Context[Any] = zmq.Context()
        router = context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        router.bind(self.endpoint)
        bound.set()
        try:
            while not self._stop.is_set():
                while not self._orders.empty():
                    self._orders.get()(router)
                if router.poll(10):
                    *envelope, frame = router.recv_multipart()
                    with self._changed:
                        self._take(router, envelope, unpack_envelope(frame).body, len(frame))
                        self._changed.notify_all()
        finally:
            router.close()
            context.term()

    def _take(self, router: zmq.Socket[bytes], envelope: list[bytes], body: Body, size: int) -> None:
        self._peers.add(envelope[0])
        self.messages.append(body)
        self.sizes.append(size)
        if self.holds:
            self.held.append((envelope, body, size))
            out, window = self.out(), self._windows.get(envelope[0], INITIAL_CREDIT_BYTES)
            if sum(out) > window and len(out) > 1:
                self.excesses.append((sum(out), window))
        else:
            self._reply(router, envelope, body)

    def _reply(self, router: zmq.Socket[bytes], envelope: list[bytes], body: Body) -> None:
        reply = self._decide(body, self.script.pop(0) if self.script else "ack")
        if reply is not None:
            if self.credit is not None:
                self._windows[envelope[0]] = self.credit
            router.send_multipart([*envelope, reply])

    def _decide(self, body: Body, what: str) -> bytes | None:
        producer, seq, rows = body["producer"], body["seq"], rows_of(body)
        if what not in ("ack", "silent"):
            return self._ack(body, 0, 0, [], 0, error=(what, "told to"))
        known = (producer, seq) in self._known
        rejected = [(i, why) for i, row in enumerate(rows) if (why := self.refuse_row(row)) is not None]
        if not known:
            refused = {index for index, _ in rejected}
            self.stored.extend(row for i, row in enumerate(rows) if i not in refused)
            self._known.add((producer, seq))
        if what == "silent":
            return None  # committed, but the answer is lost
        kept = len(rows) - len(rejected)
        return self._ack(body, 0 if known else kept, kept if known else 0, rejected, next(self._entries))

    def _ack(
        self,
        body: Body,
        stored: int,
        duplicates: int,
        rejected: list[tuple[int, str]],
        entry: int,
        error: tuple[str, str] | None = None,
    ) -> bytes:
        return ack_reply(
            producer=body["producer"],
            seq=body["seq"],
            cumulative=body["seq"],
            stored=stored,
            duplicates=duplicates,
            rejected=rejected,
            rejected_total=len(rejected),
            epoch="e",
            entry=entry,
            first_row=0,
            error=error,
            credit=self.credit,
        )


def rows_of(body: Body) -> list[Body]:
    """The rows of a message, also of columns."""
    if "rows" in body:
        rows: list[Body] = body["rows"]
        return rows
    n = body["n"]
    columns = {
        name: array(code, body[name])
        for name, code in (("ts", "q"), ("duration", "d"), ("ok", "B"), ("cpu", "d"), ("memory", "d"), ("diskIO", "d"))
        if name in body
    }
    codes = array("H" if len(body["series"]) == 2 * n else "I", body["series"])
    return [_row(body, columns, codes, row) for row in range(n)]


def _row(body: Body, columns: dict[str, array[Any]], codes: array[int], row: int) -> Body:
    server, tool = body["dictionary"][codes[row]]
    found: Body = {
        "mcpServer": server,
        "toolName": tool,
        "timestamp": columns["ts"][row],
        "duration": columns["duration"][row],
        "success": bool(columns["ok"][row]),
    }
    resource = {name: columns[name][row] for name in ("cpu", "memory", "diskIO") if name in columns}
    resource = {name: value for name, value in resource.items() if value == value}
    if resource:
        found["resource"] = resource
    if row in body.get("errors", {}):
        found["error"] = body["errors"][row]
    if row in body.get("callIds", {}):
        found["callId"] = body["callIds"][row]
    return found
