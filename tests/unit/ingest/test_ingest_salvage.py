"""What a damage left on one side is brought over from the other: the journal's entries to the files, and the other way round."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from perfmon.paths import DataDirectory
from shared.journal import JournalReader, list_segments
from tests.kit import stored
from tests.kit.ingest_store import IngestStore, durations, row

FILE = "2025-10-31/files/read.jsonl"


def wal_of(data: DataDirectory) -> Path:
    newest = list_segments(data.journal)[-1].path
    return newest.with_name(f"{newest.name}-wal")


@pytest.fixture
def store(data: DataDirectory) -> IngestStore:
    made = IngestStore(data)
    made.write(row(1), producer="p", seq=1)
    made.checkpoint()
    return made


def crashed(store: IngestStore, target: Path, size: int) -> IngestStore:
    copy = store.crashed_copy(target)
    store.close()
    os.truncate(wal_of(copy), size)
    return IngestStore(copy)


def test_rows_that_the_journal_lost_stay_in_the_files(store: IngestStore, tmp_path: Path) -> None:
    size = wal_of(store.data).stat().st_size
    store.write(row(2), row(3, tool="new"), producer="p", seq=2)
    store.append()
    epoch = store.journal.epoch
    with capture_logs() as logs:
        again = crashed(store, tmp_path / "copy", size)
    assert durations(stored(again.data)) == [1, 2, 3]
    assert again.journal.epoch != epoch
    assert "1 committed entries after 1 are gone" in [entry.get("reason") for entry in logs]
    assert set(again.view.registry.files()) == {FILE, "2025-10-31/files/new.jsonl"}
    again.close()


def test_rows_that_only_the_journal_still_has_are_brought_to_the_files_once(store: IngestStore, tmp_path: Path) -> None:
    store.write(row(2), row(2.5, tool="new"), producer="p", seq=2)
    store.append()
    store.write(row(3), row(3, error="twin", success=False), producer="p", seq=3)
    size = wal_of(store.data).stat().st_size
    store.write(row(4), producer="p", seq=4)
    again = crashed(store, tmp_path / "copy", size)
    assert durations(stored(again.data)) == [1, 2, 2.5, 3, 3]
    again = again.recover_again()
    assert durations(stored(again.data)) == [1, 2, 2.5, 3, 3]
    again.close()


def test_producers_are_known_to_the_journal_that_follows(store: IngestStore, tmp_path: Path) -> None:
    size = wal_of(store.data).stat().st_size
    store.write(row(2), producer="p", seq=2)
    again = crashed(store, tmp_path / "copy", size)
    for _ in range(2):
        again.write(row(1), producer="p", seq=1)
        again.append()
        assert durations(stored(again.data)) == [1]
        again = again.recover_again()
    again.close()


def test_a_forgotten_day_does_not_come_back_with_a_journal_that_is_given_up(store: IngestStore, tmp_path: Path) -> None:
    store.write(row(2), producer="p", seq=2)
    store.forget_day("2025-10-31")
    size = wal_of(store.data).stat().st_size
    store.write(row(3), producer="p", seq=3)
    again = crashed(store, tmp_path / "copy", size)
    assert stored(again.data) == []
    again.close()


@pytest.mark.parametrize("end", [b"", b"\0" * 40])
def test_a_file_gets_its_end_from_the_segments_that_are_left(end: bytes, data: DataDirectory) -> None:
    store = IngestStore(data, segment_bytes=10)
    for number in range(4):
        store.write(row(number))
        store.journal.rotate_if_full()
    store.checkpoint()
    whole = (data.metrics / FILE).read_bytes()
    store.journal.drop_before(3)
    store.close()
    (data.metrics / FILE).write_bytes(whole[: -len(whole) // 3] + end)
    store = IngestStore(data, segment_bytes=10)
    assert (data.metrics / FILE).read_bytes() == whole
    store.close()


def test_a_file_whose_lost_lines_the_journal_has_dropped_keeps_its_whole_lines(data: DataDirectory) -> None:
    store = IngestStore(data, segment_bytes=10)
    for number in range(4):
        store.write(row(number))
        store.journal.rotate_if_full()
    store.checkpoint()
    store.journal.drop_before(4)
    store.close()
    path = data.metrics / FILE
    path.write_bytes(path.read_bytes()[:200])
    store = IngestStore(data, segment_bytes=10)
    assert durations(stored(data)) == [0]
    store.write(row(9))
    store.append()
    assert durations(stored(store.recover_again().data)) == [0, 9]


def test_a_file_that_was_edited_and_cut_gets_no_end_that_does_not_fit(data: DataDirectory) -> None:
    store = IngestStore(data)
    store.write(row(1), row(2), row(3))
    store.checkpoint()
    store.close()
    path = data.metrics / FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0].replace(b"files", b"file") + lines[1])
    store = IngestStore(data)
    assert [record["duration"] for record in stored(data)][:2] == [1, 2]
    assert all(line.count(b"{") == 1 for line in path.read_bytes().splitlines())
    store.close()


def test_a_log_that_is_shorter_than_a_consumer_knows_is_opened_with_an_index_of_its_own(
    store: IngestStore, tmp_path: Path
) -> None:
    size = wal_of(store.data).stat().st_size
    store.write(row(2), producer="p", seq=2)
    copy = store.crashed_copy(tmp_path / "copy")
    store.close()
    first = IngestStore(copy)  # as a consumer, it keeps the index of the log
    reader = JournalReader(copy.journal)
    assert [entry.seq for entry in reader.page(0)] == [1, 2]
    os.truncate(wal_of(copy), size)
    again = IngestStore(copy)
    assert durations(stored(copy))[0] == 1
    again.write(row(5))
    again.append()
    assert 5 in durations(stored(copy))
    reader.close()
    again.close()
    first.view.close()
    shutil.rmtree(copy.root)
