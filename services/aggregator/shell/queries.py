"""The aggregator's rpc methods: `rollup`, `series`, `freshness`, `cleanup`.

A rollup holds the consumer's lock only while it looks at what is in memory; files and rows are read after. Decides nothing that
`core.planner` and `core.query` decide.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

import structlog

from perfmon.paths import DataDirectory
from perfmon.rpc import RpcClient, RpcError
from services.aggregator.core.planner import RAW_BYTES, may_be_raw, plan
from services.aggregator.core.query import from_blocks, from_rows
from services.aggregator.core.request import BadRequest, Request, parse_request
from services.aggregator.core.tiers import DAY, HOUR, MINUTE, cover, node_at
from services.aggregator.shell.cleanup import Cleanup
from services.aggregator.shell.state import FILES_ALONE, AggregatorState, View
from shared.consumer import Consumer
from shared.rpc import Refusal
from shared.settings import Settings
from shared.store.raw import TooManyRows, metric_files, read_raw
from shared.timespan import HOUR_MS

#: How long a query waits for the entry its asker wrote.
AFTER_SEQ_TIMEOUT_S: Final = 1.0
#: How long a query waits for the lock; it is held for long only by a rebuild.
LOCK_TIMEOUT_S: Final = 1.0
#: How long ingest may take to append what it has, before the rollups answer instead of the files.
FLUSH_TIMEOUT_S: Final = 0.3
#: After ingest did not answer, rollups answer for this long without asking it.
FLUSH_PAUSE_MS: Final = 5_000
#: Rows of one exact answer.
RAW_ROWS: Final = 20_000

_UNIT_NAMES: Final = {MINUTE: "minute", HOUR: "hour", DAY: "day"}


class Queries:
    """Answers with what the state, the consumer and the metric files say."""

    def __init__(
        self,
        data: DataDirectory,
        settings: Settings,
        state: AggregatorState,
        consumer: Consumer,
        *,
        cleanup: Cleanup,
        clock: Callable[[], int],
    ) -> None:
        self._data = data
        self._raw_retention_ms = settings.raw_retention_hours * HOUR_MS
        self._state = state
        self._consumer = consumer
        self._cleanup = cleanup
        self._clock = clock
        #: Used by the one worker thread that answers rollups.
        self._ingest: RpcClient | None = None
        self._flush_after_ms = 0
        self._log = structlog.get_logger()
        self.by_source_total: dict[str, int] = {}

    def rollup(self, params: dict[str, Any]) -> dict[str, Any]:
        """Figures of a range; see docs/protocol.md. Runs in a worker thread. Raises: Refusal."""
        try:
            request = parse_request(params)
            return self._answer(request)
        except BadRequest as error:
            raise Refusal("bad_request", str(error)) from error

    def series(self, _: dict[str, Any]) -> dict[str, Any]:
        """Every series that is known, last heard of first."""
        return {"series": self._state.registry.listed(), "overflow": self._state.overflowed_total}

    def freshness(self, _: dict[str, Any]) -> dict[str, Any]:
        """How current answers are."""
        return self._freshness(self._state.registry.last_ts()) | {
            "epoch": self._consumer.position.epoch,
            "head": self._consumer.head,
            "floors": dict(zip(("minuteMs", "hourMs", "dayMs"), self._state.memory.floors, strict=True)),
        }

    def cleanup(self, _: dict[str, Any]) -> dict[str, Any]:
        """Remove what is older than its retention, now."""
        return self._cleanup.run("asked for")

    def warm_up(self) -> None:
        """Make the long spans that a question about a year needs, which takes a file a day, before it is asked. Runs in a
        thread of its own; whatever is in its way, the question does it then.
        """
        try:
            view = self._view(None)
        except Refusal:
            return
        try:
            tree, today = view.tree(), node_at(DAY, self._clock())
            for node in cover(node_at(DAY, view.snapshot.first_ms).start_ms, today.start_ms):
                if node.level > DAY:
                    tree.block(node)
        except (OSError, sqlite3.Error) as error:
            self._log.warning("not_warmed_up", reason=str(error))
        finally:
            view.cache.close(view.watch)

    def _answer(self, request: Request) -> dict[str, Any]:
        view = self._view(request.after_seq)
        try:
            answer = self._from_metrics(request) or self._from_rollups(request, view)
            last = view.registry.last_ts(view.registry.matching(request.server, request.tool))
        finally:
            view.cache.close(view.watch)
        source = answer["source"]
        self.by_source_total[source] = self.by_source_total.get(source, 0) + 1
        return answer | {"freshness": self._freshness(last)}

    def _view(self, after_seq: int | None) -> View:
        lock = self._consumer.lock
        if not lock.acquire(timeout=LOCK_TIMEOUT_S):
            raise Refusal("rebuilding", "the rollups are being built anew from the stored metrics; try again soon")
        try:
            if self._consumer.position.epoch in {"", FILES_ALONE}:
                raise Refusal("starting", "the aggregator has no place in the journal yet; try again in a moment")
            if after_seq is not None and after_seq > self._consumer.position.seq:
                self._consumer.wait_for(after_seq, AFTER_SEQ_TIMEOUT_S)
            return self._state.view()
        finally:
            lock.release()

    def _from_rollups(self, request: Request, view: View) -> dict[str, Any]:
        last = view.registry.last_ts()
        planned = plan(request, view.snapshot.floors, view.snapshot.first_ms, last if last is not None else 0)
        tree = view.tree()
        slots = ((slot.ts_ms, tree.blocks(slot.nodes)) for slot in planned.slots)
        found = from_blocks(request, slots, view.registry)
        return found | _range(planned.start_ms, planned.end_ms, planned.unit, planned.source)

    def _from_metrics(self, request: Request) -> dict[str, Any] | None:
        """An exact answer from the metrics themselves; None when the rollups are to answer."""
        now_ms = self._clock()
        if now_ms < self._flush_after_ms or not may_be_raw(request, now_ms, self._raw_retention_ms, 0):
            return None
        if not may_be_raw(request, now_ms, self._raw_retention_ms, self._files_bytes(request)):
            return None
        try:
            if self._flush() < self._consumer.position.seq:
                return None  # the files can't be written just now: the rollups know of more calls
            rows = read_raw(
                self._data, request.start_ms, request.end_ms, request.server, request.tool, max_rows=RAW_ROWS
            )
        except (RpcError, TooManyRows, OSError) as error:
            self._log.debug("not_from_metrics", reason=str(error))
            return None
        found = from_rows(request, rows.batch, request.unit)
        return found | _range(request.start_ms, request.end_ms, request.unit, "raw")

    def _flush(self) -> int:
        """Have ingest append what it has; the entry up to which the files hold everything now. Raises: RpcError."""
        if self._ingest is None:
            self._ingest = RpcClient(self._data.endpoint("ingest"), timeout_s=FLUSH_TIMEOUT_S)
        try:
            return int(self._ingest.call("flush")["seq"])
        except RpcError:
            self._ingest.close()
            self._ingest = None
            self._flush_after_ms = self._clock() + FLUSH_PAUSE_MS
            raise

    def _files_bytes(self, request: Request) -> int:
        size = 0
        for path in metric_files(self._data.metrics, request.start_ms, request.end_ms, request.server, request.tool):
            size += path.stat().st_size
            if size > RAW_BYTES:
                break
        return size

    def _freshness(self, last_ms: int | None) -> dict[str, Any]:
        seq, head = self._consumer.position.seq, self._consumer.head
        return {"lastMetricMs": last_ms, "seq": seq, "lagEntries": max(0, head - seq)}


def _range(start_ms: int, end_ms: int, unit: int | None, source: str) -> dict[str, Any]:
    return {
        "startMs": start_ms,
        "endMs": end_ms,
        "groupBy": None if unit is None else _UNIT_NAMES[unit],
        "source": source,
    }
