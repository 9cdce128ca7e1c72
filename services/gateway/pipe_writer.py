"""The way out of the stdio transport: lines to a descriptor, with the client's pace respected.

Owns the descriptor. Knows nothing of what a line says.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable
from typing import Final

#: How long the last answers may take to leave when the server ends.
CLOSE_S: Final = 1.0


class LineWriter(asyncio.BaseProtocol):
    """The way out: the loop's pipe transport, or plain writes where the loop cannot watch the descriptor.

    `on_flow` is called when the client's end fills up and when it has room again, `on_lost` when it is gone.
    """

    def __init__(self, on_lost: Callable[[], None], on_flow: Callable[[], None]) -> None:
        self._on_lost = on_lost
        self._on_flow = on_flow
        self._loop = asyncio.get_running_loop()
        self._pipe: asyncio.WriteTransport | None = None
        self._fd: int | None = None
        self._room: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def paused(self) -> bool:
        return self._room is not None

    async def open(self, fd: int) -> None:
        if watchable(fd):
            pipe = os.fdopen(fd, "wb", buffering=0)
            self._pipe, _ = await self._loop.connect_write_pipe(lambda: self, pipe)
        else:
            self._fd = fd

    def use(self, transport: asyncio.WriteTransport) -> None:
        """Write to a transport that someone else opened."""
        self._pipe = transport

    def write(self, line: bytes) -> None:
        if self._pipe is not None:
            self._pipe.write(line)
        elif self._fd is not None:
            view = memoryview(line)
            while view:
                view = view[os.write(self._fd, view) :]

    async def drained(self) -> None:
        if self._room is not None:
            await asyncio.shield(self._room)

    async def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._closed

    # asyncio.BaseProtocol: what the loop calls

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()
        self._on_flow()

    def resume_writing(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None
        self._on_flow()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self.resume_writing()
        if not self._closed.done():
            self._closed.set_result(None)
        self._on_lost()


def is_one_socket(read_fd: int, write_fd: int) -> bool:
    """Whether input and output are the same socket: asyncio's pipe writer would take what arrives for the end of it."""
    found = [os.fstat(fd) for fd in (read_fd, write_fd)]
    same = (found[0].st_dev, found[0].st_ino) == (found[1].st_dev, found[1].st_ino)
    return same and stat.S_ISSOCK(found[0].st_mode)


def watchable(fd: int) -> bool:
    """Whether the loop can wait for this descriptor: pipes and sockets. A terminal is shared with others who would meet
    its non-blocking mode; a regular file is always ready.
    """
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
