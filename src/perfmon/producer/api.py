"""`Producer`: what a host application holds.

It never raises into the host, blocks it or slows it unless asked to; what it could not deliver it counts. Threads, asyncio
and fork are all fine: a forked child starts with an empty buffer and a producer id of its own, and never sends what its
parent recorded.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal, Self

from perfmon.paths import resolve_data_directory
from perfmon.producer import endings, rows
from perfmon.producer.buffer import Buffer, ProducerStats
from perfmon.producer.sender import Sender, is_safe_to_connect

#: How long close() tries to deliver what waits.
CLOSE_TIMEOUT_S: Final = 2.0
#: Characters of a producer's name that go into its id.
MAX_NAME_CHARS: Final = 48


class Producer:
    """Sends metrics of tool calls to the pipeline of a data directory.

    data_dir: as everywhere, PERFMON_DATA_DIR or the nearest `.performance-data` by default.
    name: begins this producer's id, shown by ingest.
    acknowledged: resend until ingest has each row on disk. False pushes and forgets, a little cheaper; what is under way when
        ingest dies is then lost without a trace.
    max_buffered: rows that wait at most, about 0.5 KB each.
    on_full: "drop_oldest" counts and drops; "block" makes `record` wait for room, for ever if no pipeline comes.
    endpoint: a ZeroMQ endpoint instead of the data directory's.
    strict: `record` raises ValueError for a call that would be refused and RuntimeError after `close`.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        acknowledged: bool = True,
        max_buffered: int = 10_000,
        on_full: Literal["drop_oldest", "block"] = "drop_oldest",
        endpoint: str | None = None,
        strict: bool = False,
    ) -> None:
        if on_full not in ("drop_oldest", "block"):
            raise ValueError(f"on_full is 'drop_oldest' or 'block', got {on_full!r}")
        self._strict = strict
        self._buffer = Buffer(max_buffered, block=on_full == "block")
        locate = _locator(data_dir, endpoint, "ingest.write" if acknowledged else "ingest.push", strict=strict)
        self._sender = Sender(self._buffer, locate, lambda: _new_id(name), acks=acknowledged)
        endings.keep(self, self._sender)

    @property
    def producer_id(self) -> str:
        """The id under which ingest knows this producer; another one in a forked child."""
        return self._sender.producer_id

    def record(
        self,
        server: str,
        tool: str,
        duration_ms: float,
        success: bool = True,
        error: str | BaseException | None = None,
        *,
        cpu: float | None = None,
        memory: float | None = None,
        disk_io: float | None = None,
        ts_ms: int | None = None,
        call_id: str | None = None,
    ) -> None:
        """One finished call. Returns at once; the row is sent by another thread.

        cpu in percent of a core, memory in MB, disk_io in KB, None = not measured. ts_ms is epoch ms UTC, now by default.
        call_id: the same id twice (within 48 h) is stored once.
        """
        if self._strict:
            self._check(server, tool, duration_ms)
        if error is not None:
            error = rows.error_text(error)
        if ts_ms is None:
            ts_ms = time.time_ns() // 1_000_000
        kept = self._buffer.put(
            (server, tool, duration_ms, success, error, cpu, memory, disk_io, ts_ms, call_id),
        )
        if kept and not self._sender.running:
            self._start()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything recorded before is settled; False when the time was up first.

        Settled rows are acknowledged (on disk), rejected or dropped: `stats()` says how many.
        """
        return self._buffer.wait_settled(timeout_s)

    async def aflush(self, timeout_s: float = 5.0) -> bool:
        """`flush` that lets the event loop go on."""
        import asyncio

        return await asyncio.to_thread(self.flush, timeout_s)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S, *, connect_grace_s: float | None = None) -> None:
        """Deliver what waits within the time, drop the rest and end the thread; idempotent.

        connect_grace_s: give up sooner when there is no pipeline to take anything for so long.
        """
        self._sender.begin_stop(timeout_s, grace_s=connect_grace_s)
        self._sender.finish_stop()
        endings.forget(self._sender)

    def stats(self) -> ProducerStats:
        """What became of the rows."""
        return self._buffer.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import asyncio

        await asyncio.to_thread(self.close)

    def _start(self) -> None:
        # A process that is ending cannot start threads: the row stays and is dropped with the rest.
        with contextlib.suppress(RuntimeError):
            self._sender.start()
            endings.watch_worker_process()

    def _check(self, server: object, tool: object, duration_ms: object) -> None:
        wrong = rows.problem(server, tool, duration_ms)
        if wrong is not None:
            raise ValueError(wrong)
        if self._buffer.closed:
            raise RuntimeError("this producer was closed")


def _locator(
    data_dir: str | os.PathLike[str] | None, endpoint: str | None, socket_name: str, *, strict: bool
) -> Callable[[], str | None]:
    """A function that says where to connect, or None while there is nowhere."""
    if endpoint is not None:
        return lambda: endpoint
    try:
        data = resolve_data_directory(data_dir)
    except (OSError, RuntimeError):
        # The working directory is gone, or this user has no home: nowhere to send to, now or later.
        if strict:
            raise
        return lambda: None
    address = data.endpoint(socket_name)
    return lambda: address if is_safe_to_connect(data.runtime) else None


def _new_id(name: str | None) -> str:
    readable = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in (name or "sdk"))
    return f"{readable[:MAX_NAME_CHARS]}-{os.getpid()}-{secrets.token_hex(8)}"
