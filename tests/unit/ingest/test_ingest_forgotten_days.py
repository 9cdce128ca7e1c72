"""A day that was forgotten stays forgotten, whatever the moment of a crash, and takes nothing else with it."""

from __future__ import annotations

from pathlib import Path

from perfmon.paths import DataDirectory
from shared.timespan import DAY_MS
from tests.kit import stored
from tests.kit.ingest_store import NOW, IngestStore, durations, row
from tests.unit.ingest.recovery_kit import after_crash


def test_a_forgotten_day_does_not_come_back_and_nothing_else_goes(data: DataDirectory, tmp_path: Path) -> None:
    yesterday = NOW - DAY_MS + 3_600_000
    store = IngestStore(data)
    store.write(row(1, timestamp=yesterday), row(2))
    store.append()
    store.write(row(3, timestamp=yesterday), row(4))
    store.forget_day("2025-10-30")
    assert after_crash(store, tmp_path / "a") == [2, 4]
    store.append()
    assert durations(stored(data)) == [2, 4]
    assert not (data.metrics / "2025-10-30").exists()
    store.write(row(5, timestamp=yesterday))
    assert after_crash(store, tmp_path / "b") == [2, 4, 5]
    store.append()
    assert after_crash(store, tmp_path / "c") == [2, 4, 5]
    again = IngestStore(DataDirectory(tmp_path / "c"))
    assert durations(stored(again.data)) == [2, 4, 5]
    again.close()
    store.checkpoint()
    assert store.journal.forgotten_days() == {}
    assert after_crash(store, tmp_path / "d") == [2, 4, 5]
    store.close()


def test_a_day_forgotten_by_the_journal_alone_is_not_replayed(data: DataDirectory, tmp_path: Path) -> None:
    store = IngestStore(data)
    store.write(row(1))
    store.journal.forget_day("2025-10-31")
    again = IngestStore(store.crashed_copy(tmp_path / "copy"))
    assert stored(again.data) == []
    again.close()
    store.close()
