"""A disk that takes a part of a write, or nothing: what was committed comes into the files later, and once."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from perfmon.paths import DataDirectory
from services.ingest import view
from tests.kit import line, stored
from tests.kit.ingest_store import IngestStore, durations, row
from tests.unit.ingest.recovery_kit import FILE, after_crash


def test_a_short_write_in_the_middle_of_an_append_is_taken_up_again(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = IngestStore(data)
    real, calls = os.pwrite, 0

    def short(descriptor: int, view: memoryview, offset: int) -> int:
        nonlocal calls
        calls += 1
        return real(descriptor, view[:7], offset)

    monkeypatch.setattr(os, "pwrite", short)
    store.write(row(1), row(2, tool="other"))
    store.append()
    assert calls > 10
    assert durations(stored(data)) == [1, 2]
    store.close()


@pytest.mark.parametrize(
    ("block_rows", "fails_at"),
    [(1, fails_at) for fails_at in range(1, 7)] + [(6, fails_at) for fails_at in range(1, 4)],
)
def test_a_write_that_the_disk_refuses_is_done_later_and_once(
    block_rows: int, fails_at: int, data: DataDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = IngestStore(data)
    monkeypatch.setattr(view, "BLOCK_ROWS", block_rows)
    real, calls = os.pwrite, 0

    def refuse(descriptor: int, lines: memoryview, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            real(descriptor, lines[: len(lines) // 2], offset)
            raise OSError(28, "No space left on device")
        return real(descriptor, lines, offset)

    store.write(row(1), row(2, tool="a"), row(3, tool="b"))
    store.write(row(4), row(5, tool="a"), row(6, tool="b"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        with pytest.raises(OSError, match="No space"):
            store.append()
        assert store.view.failing
        assert store.view.append_failures_total == 1
        assert store.view.seq == (0 if fails_at <= 3 or block_rows > 1 else 1)
        assert not store.view.whole
        stored(data)  # every line that is there can be read
    assert after_crash(store, tmp_path / "copy") == [1, 2, 3, 4, 5, 6]
    store.append()
    assert not store.view.failing
    assert durations(stored(data)) == [1, 2, 3, 4, 5, 6]
    store.close()


def test_with_a_full_disk_a_start_keeps_what_waits(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    store = IngestStore(data)
    store.write(row(1))
    store.write(row(2))
    store.close()

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        store = IngestStore(data)
        assert store.view.seq == 0
        assert store.view.failing
    store.append()
    assert store.view.seq == 2
    assert durations(stored(data)) == [1, 2]
    store.close()


def test_a_commit_that_failed_leaves_no_unregistered_file_behind(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = IngestStore(data)
    path = data.metrics / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(line("files", "read", "2025-10-31T01:00:00.000Z", 0.5))
    with monkeypatch.context() as patch:
        patch.setattr(store.journal, "commit", _refuse_commit)
        with pytest.raises(sqlite3.OperationalError):
            store.write(row(7))
    store.core.producers.roll_back()
    store.write(row(1))
    store.append()
    assert after_crash(store, tmp_path / "copy") == [0.5, 1]
    store.close()


def _refuse_commit(*_: object, **__: object) -> int:
    raise sqlite3.OperationalError("database or disk is full")
