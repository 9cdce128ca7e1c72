"""Answers `anomalies`, `recent` and `explain`, in worker threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from services.detector.core.answers.answer import MAX_LIMIT, BadQuery, answer, parse_query, summary
from services.detector.core.answers.past import reaches_back_to
from services.detector.core.telling.explain import anomaly
from services.detector.shell.explaining import Explaining
from services.detector.shell.past import Past
from services.detector.shell.state import DetectorState
from shared.batch import MAX_TS_MS
from shared.consumer import Consumer
from shared.rpc import Refusal
from shared.runtime.service import Service, now_ms

#: How long a query waits for the stream's turn to end.
LOCK_TIMEOUT_S: Final = 1.5


class Queries:
    """Handlers by method."""

    def __init__(self, service: Service, state: DetectorState, consumer: Consumer) -> None:
        self._service = service
        self._state = state
        self._consumer = consumer
        self._past = Past(service.data, state.database.path, service.settings)
        service.on_stop(self._past.stop)

    def register(self) -> None:
        """Answer from now on."""
        self._service.rpc.register("anomalies", self.anomalies, slow=True)
        self._service.rpc.register("recent", self.recent, slow=True)
        self._service.rpc.register("explain", self.explain, slow=True)

    def anomalies(self, params: dict[str, Any]) -> dict[str, Any]:
        """{mcpServer?, toolName?, lookbackMs?, endMs?, sensitivity?, method?, limit?, offset?, detail?} →
        {anomalies, summary, coverage, freshness}; only reads.
        """
        self._must_be_ready()
        try:
            query = parse_query(params, clock_ms := now_ms())
        except BadQuery as error:
            raise Refusal("bad_parameter", str(error), field=error.field) from error
        watch = self._state.watch
        with self._turn():
            reaches_ms = reaches_back_to(watch, named=query.method != "auto")
            if query.method == "auto":
                reaches_ms = max(reaches_ms, self._state.unswept_until_ms)
        known = replace(self._past.known(query, reaches_ms, clock_ms), swept_ms=self._state.swept_ms)
        found = answer(watch, query, self._turn, known)
        return found | {"freshness": self._freshness()}

    def recent(self, params: dict[str, Any]) -> dict[str, Any]:
        """{sinceMs, mcpServer?, limit?, detail?} → {anomalies, total, summary}: the stored ones, latest first."""
        since_ms, limit = params.get("sinceMs", 0), params.get("limit", 20)
        server = params.get("mcpServer")
        if type(since_ms) is not int or abs(since_ms) > MAX_TS_MS:
            raise Refusal("bad_parameter", "sinceMs: epoch milliseconds", field="sinceMs")
        if type(limit) is not int or not 0 <= limit <= MAX_LIMIT:
            raise Refusal("bad_parameter", f"limit: a whole number from 0 to {MAX_LIMIT}", field="limit")
        if server is not None and (not isinstance(server, str) or not _is_utf8(server)):
            raise Refusal("bad_parameter", "mcpServer: a name", field="mcpServer")
        events, total = self._state.database.recent(since_ms, server, limit)
        rows = [anomaly(event, full=params.get("detail") == "full") for event in events]
        return {"anomalies": rows, "total": total, "summary": summary(events)}

    def explain(self, params: dict[str, Any]) -> dict[str, Any]:
        """As `explaining.Explaining.explain` says."""
        self._must_be_ready()
        return Explaining(self._state, self._turn).explain(params)

    def _freshness(self) -> dict[str, Any]:
        consumer, newest = self._consumer, self._state.watch.engine.newest_ts
        return {
            "lastMetricMs": newest if newest >= 0 else None,
            "seq": consumer.position.seq,
            "lagEntries": max(0, consumer.head - consumer.position.seq),
            "sweptMs": self._state.swept_ms or None,
        }

    def _must_be_ready(self) -> None:
        if self._state.rebuilding or not self._service.ready:
            raise Refusal("starting", "the detector is still reading its history; try again in a moment")

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._consumer.lock.acquire(timeout=LOCK_TIMEOUT_S):
            raise Refusal("starting", "the detector is busy with its history; try again in a moment")
        try:
            yield
        finally:
            self._consumer.lock.release()


def _is_utf8(text: str) -> bool:
    """Whether SQLite takes it; what came as anything else is known by its lone surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in text)
