"""`Producer`: what a host application holds.

It never raises into the host, blocks it or slows it unless asked to; what it could not deliver it counts. Threads, asyncio
and fork are all fine: a forked child starts with an empty buffer and a producer id of its own, and never sends what its
parent recorded.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from time import time_ns
from types import TracebackType
from typing import Any, Final, Literal, Self

from perfmon.producer import endings, rows
from perfmon.producer.address import Locate, locator
from perfmon.producer.buffer import Buffer
from perfmon.producer.checks import call_id_problem, name_problem, row_problem
from perfmon.producer.columns import BLOCK_BYTES, of_columns
from perfmon.producer.rows import ROW_BYTES
from perfmon.producer.sender import NO_PIPELINE, Sender
from perfmon.producer.stats import ProducerStats
from perfmon.producer.waiting import becomes_true
from perfmon.wire import CREDIT_PROBE_S

#: How long close() tries to deliver what waits.
CLOSE_TIMEOUT_S: Final = 2.0
#: What waits may take by default.
MAX_BUFFERED_BYTES: Final = 16 * 1024 * 1024
#: Characters of a producer's name that go into its id.
MAX_NAME_CHARS: Final = 48


_log = logging.getLogger("perfmon.producer")

#: What a batch of ready columns may be made of: a sequence, or an object with the buffer protocol (an array, numpy's too).
Column = Sequence[Any] | Any


class Producer:
    """Sends metrics of tool calls to the pipeline of a data directory.

    data_dir: as everywhere, PERFMON_DATA_DIR or the nearest `.performance-data` by default.
    name: begins this producer's id, shown by ingest.
    acknowledged: resend until ingest has each row on disk. False pushes and forgets, a little cheaper; what is under way when
        ingest dies is then lost without a trace.
    max_buffered: rows of `record` that wait at most.
    max_buffered_bytes: what all that waits may take, about: 256 bytes a row and its texts; a batch its columns.
    on_full: "drop_oldest" counts and drops; "block" makes `record` wait for room, for ever if no pipeline comes.
    endpoint: a ZeroMQ endpoint instead of the data directory's; PERFMON_INGEST_ENDPOINT by default.
    keys: the key file of `perfmon keys add`, needed off the machine; PERFMON_CURVE_KEYS by default. Acknowledged only.
    strict: raise ValueError for what would be refused and RuntimeError after `close`. `record` looks at all that ingest looks at
        except how old a call is; `record_batch` at names, call ids and the columns' form, not at each of their values.
    probe_s: how long to wait for ingest's word that there is room again before asking by sending one message.

    Memory: at most `max_buffered_bytes`, and frames that are sent and not acknowledged: 8 MiB, or fewer when ingest says so,
    besides the last one of them (1 MiB as a rule, 16 MiB at the very most). Fire and forget: 32 frames instead.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        acknowledged: bool = True,
        max_buffered: int = 10_000,
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
        on_full: Literal["drop_oldest", "block"] = "drop_oldest",
        endpoint: str | None = None,
        keys: str | os.PathLike[str] | None = None,
        strict: bool = False,
        probe_s: float = CREDIT_PROBE_S,
    ) -> None:
        if data_dir is not None and (endpoint is not None or keys is not None):
            raise ValueError("name either a data directory or an endpoint")
        if on_full not in ("drop_oldest", "block"):
            raise ValueError(f"on_full is 'drop_oldest' or 'block', got {on_full!r}")
        self._strict = strict
        self._buffer = Buffer(max_buffered, max_buffered_bytes, block=on_full == "block")
        socket_name = "ingest.write" if acknowledged else "ingest.push"
        named = endpoint is not None or keys is not None
        locate, why_not = _lenient(lambda: locator(data_dir, endpoint, keys, socket_name), strict=strict or named)
        self._sender = Sender(
            self._buffer, locate, lambda: _new_id(name), acks=acknowledged, probe_s=probe_s, nowhere=why_not
        )
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
        if error is None and call_id is None:
            try:
                size = ROW_BYTES + len(server) + len(tool)
            except TypeError:
                size = ROW_BYTES
        else:
            error = None if error is None else rows.error_text(error)
            size = rows.size_bytes(server, tool, error, call_id)
        if ts_ms is None:
            ts_ms = time_ns() // 1_000_000
        row = (server, tool, duration_ms, success, error, cpu, memory, disk_io, ts_ms, call_id, size)
        if self._strict:
            self._check(row_problem(row, time_ns() // 1_000_000))
        buffer = self._buffer
        if buffer.put(row) and not buffer.attended:
            self._start()

    async def arecord(self, server: str, tool: str, duration_ms: float, *call: Any, **more: Any) -> None:
        """`record` that waits for room without holding up the event loop, when `on_full` is "block".

        Where other threads record too they may take the room in between; then it waits as `record` does.
        """
        await self._room(2 * ROW_BYTES, 1)
        self.record(server, tool, duration_ms, *call, **more)

    def record_batch(
        self,
        dictionary: Sequence[tuple[str, str]],
        *,
        series: Column,
        duration_ms: Column,
        ok: Column,
        ts_ms: Column | int | None = None,
        cpu: Column | None = None,
        memory: Column | None = None,
        disk_io: Column | None = None,
        errors: Mapping[int, str] | None = None,
        call_ids: Mapping[int, str] | None = None,
    ) -> int:
        """Many finished calls as columns of one length; how many were taken. For producers of more than 100,000 a second.

        `dictionary` lists (server, tool), `series` indexes it. Columns are sequences or arrays (numpy's too) and are copied at
        once; those with the wire's own types (u16, f64, i64) cost least. NaN or None in cpu, memory and disk_io: not measured.
        ts_ms: one time for all, now by default. errors and call_ids: row → text.

        Columns that do not fit each other count as one rejected row, with the reason in `last_error`; a strict producer raises
        ValueError.
        """
        resources = {"cpu": cpu, "memory": memory, "diskIO": disk_io}
        when = time_ns() // 1_000_000 if ts_ms is None else ts_ms
        try:
            blocks = list(
                of_columns(
                    dictionary,
                    series=series,
                    duration_ms=duration_ms,
                    ok=ok,
                    ts_ms=when,
                    resources=resources,
                    errors=errors,
                    call_ids=call_ids,
                )
            )
        except (TypeError, ValueError, OverflowError) as error:
            if self._strict:
                raise ValueError(f"not a batch: {error}") from error
            self._buffer.refuse(1, f"bad_batch: {error}"[:200])
            return 0
        if self._strict:
            names = (
                name_problem(*named) for pair in dictionary for named in zip(("server", "tool"), pair, strict=True)
            )
            ids = (call_id_problem(call_id) for call_id in (call_ids or {}).values())
            self._check(next(filter(None, (*names, *ids)), None))
        taken = 0
        for block in blocks:
            if self._buffer.put_block(block):
                taken += block.rows
                if not self._buffer.attended:
                    self._start()
        return taken

    async def arecord_batch(self, dictionary: Sequence[tuple[str, str]], **columns: Any) -> int:
        """`record_batch` that waits for room without holding up the event loop, when `on_full` is "block"."""
        await self._room(BLOCK_BYTES, 0)
        import asyncio

        return await asyncio.to_thread(self.record_batch, dictionary, **columns)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything recorded before is settled; False when the time was up first.

        Settled rows are acknowledged (on disk), rejected or dropped: `stats()` says how many.
        """
        return self._buffer.wait_settled(timeout_s)

    async def aflush(self, timeout_s: float = 5.0) -> bool:
        """`flush` that lets the event loop go on, without a thread of its own."""
        mark = self._buffer.mark
        return await becomes_true(self._buffer, lambda: self._buffer.settled(mark), timeout_s)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S, *, connect_grace_s: float | None = None) -> None:
        """Deliver what waits within the time, drop the rest and end the thread; idempotent.

        connect_grace_s: give up sooner when there is no pipeline to take anything for so long.
        """
        self._sender.begin_stop(timeout_s, grace_s=connect_grace_s)
        self._sender.finish_stop()
        endings.forget(self._sender)

    async def aclose(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """`close` that lets the event loop go on."""
        import asyncio

        await asyncio.to_thread(self.close, timeout_s)

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
        await self.aclose()

    async def _room(self, size_bytes: int, rows_wanted: int) -> None:
        if self._buffer.blocking:
            await becomes_true(self._buffer, lambda: self._buffer.has_room(size_bytes, rows_wanted))

    def _start(self) -> None:
        # A process that is ending cannot start threads: the row stays and is dropped with the rest.
        with contextlib.suppress(RuntimeError):
            self._sender.start()
            endings.watch_worker_process()

    def _check(self, problem: str | None) -> None:
        if problem is not None:
            raise ValueError(problem)
        if self._buffer.closed:
            raise RuntimeError("this producer was closed")


def _lenient(locate: Callable[[], Locate], *, strict: bool) -> tuple[Locate, str]:
    """Where to connect, and why nowhere; for a host that wants no exception nowhere, if that cannot be known."""
    why_not = NO_PIPELINE
    try:
        return locate(), why_not
    except (OSError, RuntimeError):
        # The working directory is gone, or this user has no home: nowhere to send to, now or later.
        if strict:
            raise
    except ValueError as error:
        if strict:
            raise
        why_not = f"metrics go nowhere: {error}"
        _log.warning(why_not)  # the environment names what must not be used
    return lambda: None, why_not


def _new_id(name: str | None) -> str:
    readable = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in (name or "sdk"))
    return f"{readable[:MAX_NAME_CHARS]}-{os.getpid()}-{secrets.token_hex(8)}"
