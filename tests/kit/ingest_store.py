"""What ingest keeps on disk, driven step by step in this process, without sockets: for tests of crashes between any two steps."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from perfmon.paths import DataDirectory
from perfmon.wire import Kind
from services.ingest.call_id_files import CallIdFiles
from services.ingest.core.ingest import Answer, IngestCore, Message
from services.ingest.recovery import recover
from services.ingest.view import View
from shared.journal.writer import JournalWriter, ProducerPlace
from shared.parking import ParkingLot
from shared.settings import Settings
from shared.timespan import HOUR_MS

#: 2025-10-31T13:00:00.123Z
NOW = 1_761_915_600_123


class IngestStore:
    """Journal, view and core on a directory, recovered. Every step of the ingest process is one method."""

    def __init__(self, data: DataDirectory, *, segment_bytes: int = 2**26, **settings: Any) -> None:
        for room in (data.root, data.metrics, data.journal, data.state):
            room.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data = data
        empty = not any(data.metrics.iterdir())
        self.journal = JournalWriter(data.journal, segment_bytes=segment_bytes, store_empty=empty)
        self.core = IngestCore(Settings(**settings))
        self.view = View(data.metrics)
        self.call_ids = CallIdFiles(data.state / "call-ids")
        self.parking = ParkingLot(data.state / "ingest")
        self.replayed = recover(self.journal, self.view, self.core, self.call_ids, self.parking).entries

    def commit(self, *messages: Message, now_ms: int = NOW) -> list[Answer]:
        """One group commit, up to and including the hand-over to the view."""
        plan = self.core.plan(messages, now_ms)
        registered = [self.view.registry.new_of(batch) for batch in plan.entries]
        self.journal.commit(
            [batch.encode() for batch in plan.entries],
            now_ms,
            producers=[ProducerPlace(n, p.seq, p.seen_bytes(), p.at_ms) for n, p in self.core.producers.staged.items()],
            new_files=[file for files in registered for file in files],
        )
        answers = self.core.committed(plan, self.journal.epoch, self.journal.head)
        first = self.journal.head - len(plan.entries) + 1
        for offset, (batch, files) in enumerate(zip(plan.entries, registered, strict=True)):
            self.view.add(first + offset, batch, files)
        self.call_ids.append(now_ms // HOUR_MS, plan.digests)
        return answers

    def write(self, *rows: dict[str, Any], now_ms: int = NOW, **envelope: Any) -> list[Answer]:
        """Commit one message of rows."""
        return self.commit(Message("test", Kind.ROWS, {"rows": list(rows), **envelope}), now_ms=now_ms)

    def append(self) -> None:
        self.view.append()

    def checkpoint(self) -> None:
        """Append what waits, sync, and tell the journal."""
        self.view.append()
        snapshot = self.view.snapshot()
        self.call_ids.sync()
        self.view.sync(snapshot)
        self.journal.checkpoint(snapshot.seq, snapshot.changed)

    def forget_day(self, day: str) -> None:
        self.journal.forget_day(day)
        self.view.forget_day(day, self.journal.head)
        self.view.remove_day(day)

    def crashed_copy(self, target: Path) -> DataDirectory:
        """The directory as a kill -9 at this moment would leave it."""
        shutil.copytree(self.data.root, target, symlinks=True)
        return DataDirectory(target)

    def close(self) -> None:
        self.view.close()
        self.journal.close()

    def recover_again(self, **settings: Any) -> IngestStore:
        """Die and start again on the same directory."""
        self.close()
        return IngestStore(self.data, **settings)


def row(number: float, tool: str = "read", server: str = "files", **more: Any) -> dict[str, Any]:
    """A row told apart by its duration."""
    return {"mcpServer": server, "toolName": tool, "duration": number, "success": True, "timestamp": NOW, **more}


def durations(records: Iterable[dict[str, Any]]) -> list[float]:
    """The durations of records, sorted."""
    return sorted(record["duration"] for record in records)
