"""Answer requests on a ROUTER socket: the server end of `perfmon.rpc`.

Owns the dispatch by method, the worker for slow queries, and the memory that makes a repeated mutation happen once. `ping` and
`stats` are ordinary quick methods, so they are answered while a slow query runs. Knows nothing of any method's meaning.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import structlog
import zmq

from perfmon.wire import Kind, WireError, error_reply, ok_reply, unpack_envelope
from perfmon.wire.limits import MAX_FRAME_BYTES
from shared.database import is_full

Handler = Callable[[dict[str, Any]], Any]

#: Answers to mutations that are kept, so that a repeated request is answered and not done again.
MUTATION_MEMORY: Final = 4_096
#: Slow queries that may wait for the worker before a new one is refused.
MAX_WAITING: Final = 256
#: Requests taken from the socket in one turn of the loop.
DRAIN_LIMIT: Final = 256


class Refusal(Exception):
    """Raised by a handler: the request is answered with this code, message and fields."""

    def __init__(self, code: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = fields


class _Method(NamedTuple):
    handler: Handler
    slow: bool
    mutation: bool


class _Asked(NamedTuple):
    """A request under way; the reply goes to `socket` behind `envelope`."""

    socket: zmq.Socket[bytes]
    envelope: list[bytes]
    request_id: str
    method: _Method


#: Methods that are answered whatever the service is at.
AT_ANY_TIME: Final = frozenset({"ping", "stats"})
#: Requests of one connection that may wait.
RECEIVE_HWM: Final = 1_000


def router(context: zmq.Context[Any], endpoint: str, *, receive_hwm: int = RECEIVE_HWM) -> zmq.Socket[bytes]:
    """A bound ROUTER socket with this product's options; `receive_hwm` messages of each connection may wait in it. Hold the
    service's lock first: a second bind steals an ipc path.
    """
    socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.RCVHWM, receive_hwm)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    socket.setsockopt(zmq.SNDTIMEO, 0)
    # A reply that nobody takes is an error that is counted, instead of vanishing.
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.bind(endpoint)
    return socket


class RpcServer:
    """Methods by name over one ROUTER socket, driven by the service's loop.

    `call_soon(fn)` must run `fn` on the loop's thread; replies of slow methods come back through it.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], None], *, workers: int = 1) -> None:
        self.requests_total = 0
        self.refused_total = 0
        self.failed_total = 0
        #: Called before a method other than ping and stats is: what is about to be asked of may be brought up to date.
        self.before: Callable[[], None] = lambda: None
        self._call_soon = call_soon
        self._methods: dict[str, _Method] = {}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="query")
        self._waiting = 0
        self._remembered: OrderedDict[str, bytes] = OrderedDict()
        self._under_way: dict[str, list[_Asked]] = {}
        self._lock = threading.Lock()
        self._log = structlog.get_logger()

    def register(self, method: str, handler: Handler, *, slow: bool = False, mutation: bool = False) -> None:
        """Answer `method` with what `handler(params)` returns. A slow one runs in a worker thread; a mutation that comes again
        with the same request id is answered from memory.
        """
        self._methods[method] = _Method(handler, slow, mutation)

    def drain(self, socket: zmq.Socket[bytes]) -> None:
        """Answer what waits on the socket, up to a limit a turn."""
        for _ in range(DRAIN_LIMIT):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.answer(socket, frames[:-1], frames[-1])

    def answer(self, socket: zmq.Socket[bytes], envelope: Sequence[bytes], frame: bytes) -> None:
        """Answer one frame; `envelope` is what stands before it and goes back in front of the reply."""
        try:
            kind, body = unpack_envelope(frame)[1:]
        except WireError as error:
            self.refused_total += 1
            self._send(socket, envelope, error_reply("", error.reason, str(error)))
            return
        request_id, name, params = body.get("id"), body.get("method"), body.get("params")
        if kind != Kind.REQUEST or not isinstance(request_id, str) or not isinstance(params, dict):
            self.refused_total += 1
            text = "a request has kind `request`, a string `id`, a `method` and a map `params`"
            self._send(socket, envelope, error_reply(str(request_id or ""), "bad_request", text))
            return
        method = self._methods.get(str(name))
        if method is None:
            self.refused_total += 1
            text = f"unknown method; known: {', '.join(sorted(self._methods))}"
            self._send(socket, envelope, error_reply(request_id, "unknown_method", text))
            return
        self.requests_total += 1
        if name not in AT_ANY_TIME:
            self.before()
        self._dispatch(_Asked(socket, list(envelope), request_id, method), params)

    def close(self) -> None:
        """Stop the workers; what they still answer goes nowhere."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _dispatch(self, asked: _Asked, params: dict[str, Any]) -> None:
        request_id, method = asked.request_id, asked.method
        if method.mutation:
            known = self._remembered.get(request_id)
            if known is not None:
                self._send(asked.socket, asked.envelope, known)
                return
            if request_id in self._under_way:
                self._under_way[request_id].append(asked)
                return
        if not method.slow:
            self._finish(asked, self._run(request_id, method.handler, params))
            return
        if self._waiting >= MAX_WAITING:
            self.refused_total += 1
            self._send(
                asked.socket, asked.envelope, error_reply(request_id, "busy", "too many queries wait; try again")
            )
            return
        self._waiting += 1
        if method.mutation:
            self._under_way[request_id] = []
        future = self._pool.submit(self._run, request_id, method.handler, params)
        future.add_done_callback(lambda done: self._worker_done(asked, done))

    def _worker_done(self, asked: _Asked, done: Future[tuple[bytes, bool]]) -> None:
        if not done.cancelled():
            self._call_soon(lambda: self._slow_finish(asked, done.result()))

    def _slow_finish(self, asked: _Asked, outcome: tuple[bytes, bool]) -> None:
        self._waiting -= 1
        self._finish(asked, outcome)
        for other in self._under_way.pop(asked.request_id, []):
            self._send(other.socket, other.envelope, outcome[0])

    def _finish(self, asked: _Asked, outcome: tuple[bytes, bool]) -> None:
        reply, settled = outcome
        if asked.method.mutation and settled:
            self._remembered[asked.request_id] = reply
            while len(self._remembered) > MUTATION_MEMORY:
                self._remembered.popitem(last=False)
        self._send(asked.socket, asked.envelope, reply)

    def _run(self, request_id: str, handler: Handler, params: dict[str, Any]) -> tuple[bytes, bool]:
        """The reply, and whether it is final (a failure of ours may be tried again)."""
        try:
            return self._handled(request_id, handler, params), True
        except Exception as error:  # noqa: BLE001 - top of a loop: one failing query must not end the service
            self._count("failed_total")
            self._log.exception("query_failed")
            if is_full(error) or is_full(error.__cause__):
                message = "the disk is full, so this is not on disk: make room and repeat it"
                return error_reply(request_id, "disk_full", message), False
            return error_reply(
                request_id, "internal_error", "the service failed on this request; its log says why"
            ), False

    def _handled(self, request_id: str, handler: Handler, params: dict[str, Any]) -> bytes:
        try:
            return ok_reply(request_id, handler(params))
        except Refusal as refusal:
            self._count("refused_total")
            return error_reply(request_id, refusal.code, refusal.message, **refusal.fields)

    def _count(self, counter: str) -> None:
        with self._lock:
            setattr(self, counter, getattr(self, counter) + 1)

    def _send(self, socket: zmq.Socket[bytes], envelope: Sequence[bytes], reply: bytes) -> None:
        try:
            socket.send_multipart([*envelope, reply], zmq.NOBLOCK)
        except zmq.ZMQError:
            # The asker is gone or takes nothing; it will ask again with the same id if it still cares.
            self.failed_total += 1
