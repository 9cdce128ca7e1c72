"""What ingest is asked besides writes, on `ingest` and `ingest.write`: flush, snapshot, progress, forget, hello and figures."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from services.ingest.checkpoints import Checkpoints
from services.ingest.core.ingest import IngestCore
from services.ingest.store import Store
from shared.database import is_full
from shared.rpc import Refusal
from shared.runtime.service import Service, now_ms
from shared.timespan import BadTime


class Queries:
    """The handlers. `append` writes to the files what waits, as far as the disk takes it."""

    def __init__(
        self, service: Service, store: Store, core: IngestCore, checkpoints: Checkpoints, append: Callable[[], None]
    ) -> None:
        self._journal = journal = store.journal
        self._view = view = store.view
        self._progress = progress = store.progress
        self._disk = disk = store.disk
        self._core = core
        self._checkpoints = checkpoints
        self._append = append
        self._log = service.log
        self._last_hello_ms = now_ms()
        service.ping_fields = lambda: {"epoch": journal.epoch, "seq": journal.head}
        rpc = service.rpc
        rpc.register("flush", self._flush)
        rpc.register("snapshot", self._snapshot)
        rpc.register("progress", self._note_progress)
        rpc.register("forget", self._forget, mutation=True)
        rpc.register("hello", self._hello)
        service.stats.update(
            epoch=lambda: journal.epoch,
            head=lambda: journal.head,
            seq=lambda: journal.head,
            viewSeq=lambda: view.seq,
            checkpointSeq=lambda: journal.checkpoint_seq,
            stored_total=lambda: core.stored_total,
            duplicates_total=lambda: core.duplicates_total,
            refusedByReason=lambda: dict(core.refused_total),
            lost_rows_total=core.refusals.lost.total,
            lostRowsByReason=lambda: dict(core.refusals.lost),
            refused_rows_total=core.refusals.for_good.total,
            refusedRowsByReason=lambda: dict(core.refusals.for_good),
            come_again_rows_total=core.refusals.come_again.total,
            comeAgainRowsByReason=lambda: dict(core.refusals.come_again),
            rejected_total=lambda: sum(core.refused_total.values()),
            appended_total=lambda: view.appended_total,
            append_failures_total=lambda: view.append_failures_total,
            storage_failures_total=lambda: disk.failures_total,
            pendingRows=lambda: view.pending_rows,
            parked_total=lambda: store.parking.total,
            series=lambda: len(core.placement),
            overflowed_total=lambda: core.placement.overflowed_total,
            producers=lambda: len(core.producers),
            producers_forgotten_early_total=lambda: core.producers.forgotten_early_total,
            callIds=lambda: len(core.call_ids),
            journalBytes=journal.size_bytes,
            consumers=lambda: dict(progress.places),
            lost_places_total=lambda: progress.lost_places_total,
            lastMetricMs=lambda: core.last_metric_ms,
            lastHelloMs=lambda: self._last_hello_ms,
            diskFull=lambda: disk.full,
        )

    def _flush(self, _: dict[str, Any]) -> dict[str, Any]:
        self._append()
        return {"epoch": self._journal.epoch, "seq": self._view.seq}

    def _snapshot(self, _: dict[str, Any]) -> dict[str, Any]:
        self._append()
        if not self._view.whole:
            raise Refusal("view_incomplete", "the metric files can't be written and hold an entry in part; try again")
        return {"epoch": self._journal.epoch, "seq": self._view.seq, "files": self._view.registry.files()}

    def _note_progress(self, params: dict[str, Any]) -> dict[str, Any]:
        service, epoch, seq = params.get("service"), params.get("epoch"), params.get("seq")
        if not isinstance(service, str) or not isinstance(epoch, str) or type(seq) is not int:
            raise Refusal("bad_request", "progress takes service, epoch and seq")
        return {"noted": self._progress.report(service, epoch, seq)}

    def _hello(self, _: dict[str, Any]) -> dict[str, Any]:
        self._last_hello_ms = now_ms()
        return {"lastHelloMs": self._last_hello_ms}

    def _forget(self, params: dict[str, Any]) -> dict[str, Any]:
        day = str(params.get("day"))
        try:
            self._view.registry.of_day(day)
        except BadTime as error:
            raise Refusal("bad_request", str(error)) from error
        try:
            self._journal.forget_day(day)
            files, size = self._remove(day)
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            # Not even the journal has room to forget: remove first, which makes some.
            files, size = self._remove(day)
            self._journal.forget_day(day)
        self._log.info("day_forgotten", day=day, files=files, bytes=size)
        return {"day": day, "files": files, "bytes": size}

    def _remove(self, day: str) -> tuple[int, int]:
        self._append()
        self._checkpoints.void()
        self._view.forget_day(day, self._journal.head)
        placement = self._core.placement
        placement.forget_all()
        for series, path in self._view.registry.series().items():
            placement.restore(series, path)
        removed = self._view.remove_day(day)
        self._disk.freed()
        return removed
