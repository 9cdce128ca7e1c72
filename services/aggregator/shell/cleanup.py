"""Remove what is older than its retention: daily, at once when the disk is full, and when asked to.

Runs in a thread of its own, one at a time. Files go first, because a full disk can't even delete rows. Metrics are removed by
ingest, which must forget them first. Hours whose file is not written yet keep their minutes, days not written their hours.
A clock that jumped ahead makes nothing old (`shared.trusted_clock`).
"""

from __future__ import annotations

import contextvars
import sqlite3
import threading
from pathlib import Path
from typing import Any, Final

import structlog

from perfmon.paths import DataDirectory
from perfmon.rpc import RpcClient, RpcError
from services.aggregator.core import retention
from services.aggregator.core.retention import Retention
from services.aggregator.core.tiers import DAY, HOUR, Floors
from services.aggregator.shell.files import files_with_times, folder_names, remove_files
from services.aggregator.shell.state import AggregatorState
from shared.settings import Settings
from shared.timespan import DAY_MS, HOUR_MS
from shared.trusted_clock import TrustedClock, anchor_text

#: How long ingest may take to unlink a day of 10,000 files.
FORGET_TIMEOUT_S: Final = 30.0
#: A full disk asks again and again; this long after a clean-up began, another finds nothing new.
PAUSE_MS: Final = 10_000
#: Minutes are removed by this much at a time, so that nobody waits long for the lock.
SLICE_MS: Final = HOUR_MS


def retention_of(settings: Settings) -> Retention:
    """The retentions that are set."""
    return Retention(
        raw_ms=settings.raw_retention_hours * HOUR_MS,
        minute_ms=settings.minute_retention_hours * HOUR_MS,
        hourly_ms=settings.hourly_retention_days * DAY_MS,
        daily_ms=settings.daily_retention_days * DAY_MS,
        anomalies_ms=settings.anomaly_retention_days * DAY_MS,
        reports_ms=retention.REPORT_RETENTION_DAYS * DAY_MS,
    )


class Cleanup:
    """The clean-up of one data directory. `lock` is the consumer's, `clock` gives epoch ms by which things are old."""

    def __init__(
        self,
        data: DataDirectory,
        settings: Settings,
        state: AggregatorState,
        lock: threading.RLock,
        clock: TrustedClock,
    ) -> None:
        self._data = data
        self._retention = retention_of(settings)
        self._state = state
        self._lock = lock
        self._clock = clock
        self._running = threading.Lock()
        self._log = structlog.get_logger()
        #: When the last one began, epoch ms.
        self.began_ms = 0
        self.runs_total = 0
        self.failures_total = 0
        self.removed_files_total = 0
        self.removed_bytes_total = 0

    def start(self, reason: str) -> None:
        """Run in a thread of its own, unless one runs already or has just run."""
        # Either way: the last one may have begun under a clock that has been set back since.
        if not self._running.locked() and abs(self._clock() - self.began_ms) >= PAUSE_MS:
            # With the context, so that its log lines carry the service's name.
            run = contextvars.copy_context().run
            threading.Thread(target=run, args=(self._run_logged, reason), name="cleanup", daemon=True).start()

    def run(self, reason: str) -> dict[str, Any]:
        """Run now, after one that runs already; what was removed."""
        with self._running:
            self.began_ms = self._clock()
            done = self._all(self._clock())
        self.runs_total += 1
        self.removed_files_total += done["files"]
        self.removed_bytes_total += done["bytes"]
        self._log.info("cleaned_up", reason=reason, **done)
        return done

    def _run_logged(self, reason: str) -> None:
        try:
            self.run(reason)
        except (OSError, sqlite3.Error) as error:
            self.failures_total += 1
            self._log.error("cleanup_failed", reason=str(error))

    def _all(self, now_ms: int) -> dict[str, Any]:
        kept = self._retention
        raw = self._raw_days(now_ms)
        removed = {
            "anomalies": remove_files(
                self._data.anomalies, lambda names: retention.expired_anomaly_files(names, now_ms, kept.anomalies_ms)
            ),
            "reports": remove_files(
                self._data.reports, lambda names: retention.expired_reports(names, now_ms, kept.reports_ms)
            ),
            "temporary": self._temporaries(now_ms),
        }
        minutes, aggregates = self._rollups(now_ms)
        removed |= aggregates
        if not raw["unavailable"]:
            with self._lock:
                self._state.database.keep_cleaned(now_ms, anchor_text(self._clock.anchor))
                self._state.cleaned_ms = now_ms
        counted = {name: files for name, (files, _) in removed.items()}
        return {
            "rawDays": raw["days"],
            "rawFiles": raw["files"],
            "minutes": minutes,
            **counted,
            "files": raw["files"] + sum(counted.values()),
            "bytes": raw["bytes"] + sum(size for _, size in removed.values()),
            "unavailable": raw["unavailable"],
        }

    def _raw_days(self, now_ms: int) -> dict[str, Any]:
        """Have ingest forget the days that are too old."""
        done: dict[str, Any] = {"days": [], "files": 0, "bytes": 0, "unavailable": []}
        expired = retention.expired_raw_days(folder_names(self._data.metrics), now_ms, self._retention.raw_ms)
        if not expired:
            return done
        with RpcClient(self._data.endpoint("ingest"), timeout_s=FORGET_TIMEOUT_S) as ingest:
            for day in expired:
                try:
                    answer = ingest.call("forget", {"day": day})
                except RpcError as error:
                    self.failures_total += 1
                    self._log.error("day_not_forgotten", day=day, reason=str(error))
                    done["unavailable"].append(day)
                    break
                done["days"].append(day)
                done["files"] += int(answer.get("files") or 0)
                done["bytes"] += int(answer.get("bytes") or 0)
        return done

    def _rollups(self, now_ms: int) -> tuple[int, dict[str, tuple[int, int]]]:
        """Raise the floors, then remove what is below them: rows of minutes, files of hours and days."""
        state = self._state
        with self._lock:
            # The mark of an hour that got rows is set when they are folded: nothing may wait.
            state.fold_pending()
            before = state.memory.floors
            floors = retention.raised_floors(before, now_ms, self._retention, state.memory.stale)
            if floors != before:
                state.memory.raise_floors(floors)
        # On a full disk the floors can't be stored before some files went; they are stored with the next save anyway.
        stored = self._keep_floors(floors)
        removed = {
            "hourly": _remove_aggregates(self._data.hourly, HOUR, floors.hour_ms),
            "daily": _remove_aggregates(self._data.daily, DAY, floors.day_ms),
        }
        if not stored and not self._keep_floors(floors):
            return 0, removed
        return self._minutes(floors.minute_ms), removed

    def _keep_floors(self, floors: Floors) -> bool:
        with self._lock:
            try:
                self._state.database.keep_floors(floors)
            except sqlite3.Error as error:
                self._log.error("floors_not_stored", reason=str(error))
                return False
        return True

    def _minutes(self, floor_ms: int) -> int:
        removed = 0
        while True:
            with self._lock:
                first = self._state.database.first_minute_ms()
                if first is None or first >= floor_ms:
                    return removed
                end = min(floor_ms, first - first % SLICE_MS + SLICE_MS)
                removed += self._state.database.forget_minutes(first, end)

    def _temporaries(self, now_ms: int) -> tuple[int, int]:
        found = [_remove_temporaries(folder, now_ms) for folder in (self._data.hourly, self._data.daily)]
        return sum(files for files, _ in found), sum(size for _, size in found)


def _remove_aggregates(folder: Path, level: int, before_ms: int) -> tuple[int, int]:
    return remove_files(folder, lambda names: retention.expired_aggregates(names, level, before_ms))


def _remove_temporaries(folder: Path, now_ms: int) -> tuple[int, int]:
    left = set(retention.abandoned_temporaries(files_with_times(folder), now_ms))
    return remove_files(folder, lambda names: [name for name in names if name in left])
