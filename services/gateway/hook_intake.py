"""Takes hook payloads without ever making Claude Code wait: a bounded queue, drained to the ingest in batches.

Owns the queue and its counters. What does not fit is dropped and counted; what ingest does not acknowledge is tried again, the
call ids making that harmless.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import structlog

from perfmon.rpc import RpcError, Unavailable
from services.gateway.core.hooks import HookMetric, Ignored, read_payload
from services.gateway.ingest_writer import IngestWriter

#: Metrics that wait for the ingest; a day of hard work fits many times.
MAX_QUEUED: Final = 10_000
#: Metrics in one message, and the pause after a write that failed.
BATCH_ROWS: Final = 500
RETRY_PAUSE_S: Final = 1.0


class HookIntake:
    """From payloads to stored metrics. `take` never waits; `run` writes until cancelled."""

    def __init__(self, writer: Callable[[], IngestWriter], now_ms: Callable[[], int]) -> None:
        self.ignored_total: Counter[str] = Counter()
        self.refused_total: Counter[str] = Counter()
        self.accepted_total = 0
        self.dropped_total = 0
        self.stored_total = 0
        self.duplicates_total = 0
        self._writer = writer
        self._now_ms = now_ms
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_QUEUED)
        self._log = structlog.get_logger()

    def take(self, body: bytes) -> None:
        """Queue the metric in a payload, if there is one."""
        found = read_payload(_parse(body), self._now_ms())
        if not isinstance(found, HookMetric):
            self.ignored_total[found.value] += 1
            return
        try:
            self._queue.put_nowait(found.row)
        except asyncio.QueueFull:
            self.dropped_total += 1
        else:
            self.accepted_total += 1

    async def run(self) -> None:
        """Write what is queued, again and again."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH_ROWS and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._write(batch)

    def figures(self) -> dict[str, Any]:
        """Counters for `stats`."""
        return {
            "hooks_accepted_total": self.accepted_total,
            "hooks_stored_total": self.stored_total,
            "hooks_duplicates_total": self.duplicates_total,
            "hooks_dropped_total": self.dropped_total,
            "hooks_ignored_total": dict(self.ignored_total),
            "hooks_refused_total": dict(self.refused_total),
            "hooks_queued": self._queue.qsize(),
        }

    async def _write(self, batch: list[dict[str, Any]]) -> None:
        told = False
        while True:
            try:
                ack = await self._writer().write(batch)
            except Unavailable:
                if not told:
                    self._log.warning("ingest_does_not_answer", waiting=len(batch) + self._queue.qsize())
                    told = True
            except RpcError as error:
                # A journal that is full or a disk that is: the same rows again, later. A bad message would never be taken.
                if error.code not in {"journal_full", "disk_full", "disk_error", "stopping", "busy"}:
                    self.refused_total[error.code] += len(batch)
                    return
            else:
                self.stored_total += ack.stored
                self.duplicates_total += ack.duplicates
                self.refused_total.update(reason for _, reason in ack.rejected)
                return
            await asyncio.sleep(RETRY_PAUSE_S)


def _parse(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return Ignored.MALFORMED
