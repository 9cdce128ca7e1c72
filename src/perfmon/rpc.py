"""Ask a service over its ROUTER socket: the query client, sync and async.

Owns the request ids and the matching of replies to them. A DEALER socket carries many requests at once, so a lost or late
reply never locks it up; a reply to a request that was given up is dropped. Knows nothing of any method.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import zmq

from perfmon.wire import Kind, WireError, request, unpack_envelope
from perfmon.wire.limits import MAX_FRAME_BYTES

#: How long a client waits for an answer unless told otherwise.
DEFAULT_TIMEOUT_S: Final = 2.0
#: How long a closing client tries to get its last words out.
CLOSE_LINGER_MS: Final = 0
#: Longest pause between attempts to reconnect.
RECONNECT_MAX_MS: Final = 1_000


class RpcError(RuntimeError):
    """A service answered with a refusal: `code` for programs, `message` for people, `fields` for the rest."""

    def __init__(self, code: str, message: str, fields: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = dict(fields or {})


class Unavailable(RpcError):
    """Nobody answered in time; whether a mutation was done is unknown (repeat it with the same request id)."""

    def __init__(self, endpoint: str, method: str, timeout_s: float) -> None:
        name = endpoint.rsplit("/", 1)[-1]
        super().__init__("unavailable", f"{name} did not answer `{method}` within {timeout_s:g} s")


def new_request_id() -> str:
    """An id that no other request has."""
    return f"{os.getpid():x}-{secrets.token_hex(8)}"


class RpcClient:
    """Asks one service, one call after the other. Not thread-safe: one client a thread."""

    def __init__(
        self, endpoint: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, context: zmq.Context[Any] | None = None
    ) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self._socket = _dealer(context or zmq.Context.instance(), endpoint)

    def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Any:
        """The service's result.

        Raises: Unavailable when no answer came in time, RpcError when the service refused.
        """
        wait_s = self.timeout_s if timeout_s is None else timeout_s
        wanted = request_id or new_request_id()
        deadline = time.monotonic() + wait_s
        try:
            self._socket.setsockopt(zmq.SNDTIMEO, max(1, int(wait_s * 1000)))
            self._socket.send(request(wanted, method, params))
        except zmq.Again as error:
            raise Unavailable(self.endpoint, method, wait_s) from error
        while (left := deadline - time.monotonic()) > 0:
            if not self._socket.poll(max(1, int(left * 1000))):
                break
            body = _reply_body(self._socket.recv_multipart(copy=True)[-1])
            if body is not None and body.get("id") == wanted:
                return _result(body)
        raise Unavailable(self.endpoint, method, wait_s)

    def close(self) -> None:
        """Let go of the socket; idempotent."""
        self._socket.close(linger=CLOSE_LINGER_MS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncRpcClient:
    """Asks one service with many calls in flight; lives in one event loop."""

    def __init__(self, endpoint: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        import zmq.asyncio

        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self._socket = _dealer(zmq.asyncio.Context.instance(), endpoint)
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Any:
        """The service's result.

        Raises: Unavailable when no answer came in time, RpcError when the service refused.
        """
        wait_s = self.timeout_s if timeout_s is None else timeout_s
        wanted = request_id or new_request_id()
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[wanted] = future
        try:
            async with asyncio.timeout(wait_s):
                await self._socket.send(request(wanted, method, params))
                return _result(await future)
        except TimeoutError as error:
            raise Unavailable(self.endpoint, method, wait_s) from error
        finally:
            self._waiting.pop(wanted, None)

    async def _read(self) -> None:
        while True:
            frames = await self._socket.recv_multipart()
            body = _reply_body(frames[-1])
            future = None if body is None else self._waiting.get(str(body.get("id")))
            if body is not None and future is not None and not future.done():
                future.set_result(body)

    async def close(self) -> None:
        """Stop reading and let go of the socket; idempotent."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None
        self._socket.close(linger=CLOSE_LINGER_MS)


def _dealer(context: Any, endpoint: str) -> Any:
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, CLOSE_LINGER_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    # A request sent to nobody must fail by time-out, not wait in a queue for a service started minutes later.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.connect(endpoint)
    return socket


def _reply_body(frame: bytes) -> dict[str, Any] | None:
    try:
        envelope = unpack_envelope(frame)
    except WireError:
        return None
    return envelope.body if envelope.kind == Kind.REPLY else None


def _result(body: dict[str, Any]) -> Any:
    if body.get("ok"):
        return body.get("result")
    error = body.get("error")
    fields = dict(error) if isinstance(error, dict) else {}
    raise RpcError(str(fields.pop("code", "internal_error")), str(fields.pop("message", "no message")), fields)
