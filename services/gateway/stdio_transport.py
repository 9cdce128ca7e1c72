"""MCP over a process's pipes: one JSON-RPC message a line, read and written by the event loop itself.

Owns descriptors 0 and 1 while it serves: they are moved away first, so that a stray print of ours or of a child reaches
stderr and never the protocol. A line that is not a message is answered with a JSON-RPC error and costs nothing else. The end
of input is passed on only when the requests under way were answered (to a deadline), so a client that writes and closes at
once still gets its answers. Knows nothing of tools. The SDK's own stdio transport hops through threads, 1 ms a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from mcp.shared.message import SessionMessage
from mcp_types import (
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)

from services.gateway.claim import Wire
from services.gateway.core.lines import MAX_LINE_BYTES, LineSplitter, Oversize, unreadable_reply
from services.gateway.pipe_writer import LineWriter, is_one_socket, watchable

#: Messages taken from the pipe and not yet from the queue, above which reading pauses.
MAX_QUEUED: Final = 1_024
#: After the end of input: how long requests under way may still take. A first start of the pipeline fits in.
END_DRAIN_S: Final = 25.0
#: After SIGTERM: how long they may take.
STOP_DRAIN_S: Final = 1.0
#: Bytes read at once where the loop cannot watch the descriptor (regular files).
FILE_CHUNK_BYTES: Final = 64 * 1024


class PipeTransport(asyncio.Protocol):
    """The stream pair that an MCP server runs on: iterate it for messages, `send` answers to it.

    `on_first_message` is called once, when the client said something.
    """

    def __init__(self, wire: Wire, on_first_message: Callable[[], object] = lambda: None) -> None:
        self.unreadable_total = 0
        self._wire = wire
        self._on_first_message: Callable[[], object] | None = on_first_message
        self._loop = asyncio.get_running_loop()
        self._splitter = LineSplitter(MAX_LINE_BYTES)
        self._queue: deque[SessionMessage] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._under_way: set[str | int] = set()
        self._idle: asyncio.Future[None] | None = None
        self._ended = False
        self._reader: asyncio.ReadTransport | None = None
        self._writer = LineWriter(self._output_lost, self._choose_reading)
        self._ending: asyncio.Task[None] | None = None
        self._reading_paused = False
        self._stopped = False

    async def open(self) -> None:
        """Start reading and writing."""
        if is_one_socket(self._wire.read_fd, self._wire.write_fd):
            os.close(self._wire.write_fd)
            end = socket.socket(fileno=self._wire.read_fd)
            duplex, _ = await self._loop.create_connection(lambda: _BothWays(self, self._writer), sock=end)
            self._reader = duplex
            self._writer.use(duplex)
            return
        await self._writer.open(self._wire.write_fd)
        if watchable(self._wire.read_fd):
            pipe = os.fdopen(self._wire.read_fd, "rb", buffering=0)
            self._reader, _ = await self._loop.connect_read_pipe(lambda: self, pipe)
        else:
            threading.Thread(target=self._read_file, name="stdin", daemon=True).start()

    def stop(self, drain_s: float = STOP_DRAIN_S) -> None:
        """Take no more; end when what is under way was answered, at the latest after `drain_s`."""
        self._stopped = True
        if self._reader is not None:
            self._reader.pause_reading()
        if self._ending is not None:
            self._ending.cancel()
        self._ending = self._loop.create_task(self._end(drain_s))

    async def flush_and_close(self) -> None:
        """Get the last answers out and let go of the descriptors."""
        if self._reader is not None:
            self._reader.close()
        await self._writer.close()

    # asyncio.Protocol: what the loop calls

    def data_received(self, data: bytes) -> None:
        for line in self._splitter.feed(data):
            self._take(line)
        self._choose_reading()

    def eof_received(self) -> bool:
        self._input_ended()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._input_ended()

    # mcp's ReadStream: what the server calls

    async def receive(self) -> SessionMessage:
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            import anyio

            raise anyio.EndOfStream from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            await self._waiter
        item = self._queue.popleft()
        if self._reading_paused:
            self._choose_reading()
        return item

    async def aclose(self) -> None:
        """The server calls this when it is done with one direction; the descriptors are closed by `flush_and_close`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return None

    # mcp's WriteStream

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message; waits only when the client reads more slowly than we write."""
        message = item.message
        self._writer.write(_encode(message))
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._answered(message.id)
        await self._writer.drained()

    def _choose_reading(self) -> None:
        """Read on only while the server keeps up and the client takes what is written."""
        if self._reader is None or self._stopped:
            return
        full = len(self._queue) > MAX_QUEUED or self._writer.paused
        if full != self._reading_paused:
            self._reading_paused = full
            (self._reader.pause_reading if full else self._reader.resume_reading)()

    def _answered(self, request_id: object) -> None:
        if isinstance(request_id, str | int):
            self._under_way.discard(request_id)
        if not self._under_way and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _take(self, line: bytes | Oversize) -> None:
        if isinstance(line, Oversize):
            self._refuse(line)
            return
        if not line.strip():
            return
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._refuse(line)
            return
        if isinstance(message, JSONRPCRequest):
            self._under_way.add(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._answered((message.params or {}).get("requestId"))
        if self._on_first_message is not None:
            first, self._on_first_message = self._on_first_message, None
            first()
        self._queue.append(SessionMessage(message))
        self._wake()

    def _refuse(self, line: bytes | Oversize) -> None:
        self.unreadable_total += 1
        self._writer.write(unreadable_reply(line))

    def _input_ended(self) -> None:
        for line in self._splitter.rest():
            self._take(line)
        if self._ending is None:
            self._ending = self._loop.create_task(self._end(END_DRAIN_S))

    def _output_lost(self) -> None:
        """Nobody reads any more: answering is pointless."""
        if self._ending is not None:
            self._ending.cancel()
        self._ended = True
        self._wake()

    async def _end(self, drain_s: float) -> None:
        if self._under_way:
            self._idle = self._loop.create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_s):
                    await self._idle
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _read_file(self) -> None:
        while chunk := os.read(self._wire.read_fd, FILE_CHUNK_BYTES):
            self._loop.call_soon_threadsafe(self.data_received, chunk)
        self._loop.call_soon_threadsafe(self._input_ended)


class _BothWays(asyncio.Protocol):
    """Where one socket is both input and output, as inetd and socat give it."""

    def __init__(self, reader: PipeTransport, writer: LineWriter) -> None:
        self._reader = reader
        self._writer = writer

    def data_received(self, data: bytes) -> None:
        self._reader.data_received(data)

    def eof_received(self) -> bool:
        self._reader.eof_received()
        return True  # the client may have closed its sending half alone, and still wants its answers

    def pause_writing(self) -> None:
        self._writer.pause_writing()

    def resume_writing(self) -> None:
        self._writer.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reader.connection_lost(exc)
        self._writer.connection_lost(exc)


def _encode(message: Any) -> bytes:
    try:
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"  # type: ignore[no-any-return] # any model
    except ValueError:  # text that is not Unicode, which no answer of ours should hold
        error = {"code": -32603, "message": "the answer could not be written as JSON"}
        broken = JSONRPCError.model_validate({"jsonrpc": "2.0", "id": getattr(message, "id", None), "error": error})
        return broken.model_dump_json(by_alias=True).encode() + b"\n"
