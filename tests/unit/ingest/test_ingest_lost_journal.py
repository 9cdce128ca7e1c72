"""A journal that is new, gone or damaged: a new epoch begins, and what is in the files stays and is not doubled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from perfmon.paths import DataDirectory
from shared.journal import list_segments
from tests.kit import line, stored
from tests.kit.ingest_store import IngestStore, durations, row
from tests.unit.ingest.recovery_kit import FILE, after_crash, delete, empty


def test_a_deleted_journal_begins_a_new_epoch_and_doubles_nothing(data: DataDirectory, tmp_path: Path) -> None:
    store = IngestStore(data)
    store.write(*(row(number, callId=f"call-{number}") for number in range(5)))
    store.append()
    epoch = store.journal.epoch
    store.close()
    shutil.rmtree(data.journal)
    store = IngestStore(data)
    assert store.journal.epoch != epoch
    assert store.journal.head == 0
    assert store.view.registry.files() == {FILE: (data.metrics / FILE).stat().st_size}
    store.write(*(row(number, callId=f"call-{number}") for number in range(10)))
    assert after_crash(store, tmp_path / "copy") == list(range(10))
    store.append()
    assert durations(stored(data)) == list(range(10))
    store.close()


def test_an_adoption_that_was_killed_is_done_again(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    path = data.metrics / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(line("files", "read", "2025-10-31T01:00:00.000Z", 0.5))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shared.journal.writer.JournalWriter.adopt", die)
        with pytest.raises(KeyboardInterrupt):
            IngestStore(data)
    store = IngestStore(data)
    assert list(store.view.registry.files()) == [FILE]
    assert not store.journal.fresh
    store = store.recover_again()
    assert list(store.view.registry.files()) == [FILE]
    store.close()


def test_adoption_passes_over_what_is_not_ours(data: DataDirectory, tmp_path: Path) -> None:
    good = line("files", "read", "2025-10-31T01:00:00.000Z")
    outside = tmp_path / "outside"
    (outside / "files").mkdir(parents=True)
    (outside / "files" / "read.jsonl").write_bytes(good + b"torn")
    for path, content in {
        FILE: good,
        "2025-10-31/files/other.jsonl": good,
        "2025-10-31/files/empty.jsonl": b"",
        "2025-10-31/files/junk.jsonl": b"null\n[]\n" + b"[" * 100_000 + b"\n",
        "2025-10-31/files/sur.jsonl": b'{"timestamp":"2025-10-31T01:00:00Z","mcpServer":"\\ud800","toolName":"t"}\n',
        "notaday/files/read.jsonl": good,
        "2025-10-31/.hidden/read.jsonl": good,
        "2025-10-31/readme.txt": b"hello",
    }.items():
        (data.metrics / path).parent.mkdir(parents=True, exist_ok=True)
        (data.metrics / path).write_bytes(content)
    (data.metrics / "2025-10-29").symlink_to(outside)
    (data.metrics / "2025-10-31" / "linked").symlink_to(outside / "files")
    (data.metrics / "2025-10-31" / "files" / "link.jsonl").symlink_to(outside / "files" / "read.jsonl")
    store = IngestStore(data)
    assert list(store.view.registry.files()) == [FILE]
    assert (outside / "files" / "read.jsonl").read_bytes() == good + b"torn"
    store.close()


def _flip_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in range(4_096, len(content), 64):
        content[at] ^= 0xFF
    path.write_bytes(content)


def _overwrite(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 100)


def _half(path: Path) -> None:
    os.truncate(path, 4_096)


@pytest.mark.parametrize("damage", [_flip_pages, _overwrite, _half, empty, delete])
def test_a_damaged_journal_is_set_aside_and_what_is_in_the_files_stays(
    damage: Callable[[Path], None], data: DataDirectory
) -> None:
    store = IngestStore(data)
    store.write(*(row(number, error="x" * 500, success=False) for number in range(40)))
    store.checkpoint()
    store.write(row(100))
    store.append()
    epoch = store.journal.epoch
    store.close()
    [segment] = list_segments(data.journal)
    damage(segment.path)
    store = IngestStore(data)
    assert store.journal.epoch != epoch
    assert durations(stored(data)) == [*range(40), 100]
    store.write(row(200))
    store.append()
    store = store.recover_again()
    assert durations(stored(data)) == [*range(40), 100, 200]
    store.close()


def test_a_journal_with_a_missing_segment_is_set_aside(data: DataDirectory) -> None:
    store = IngestStore(data, segment_bytes=10)
    store.write(row(1))
    store.journal.rotate_if_full()
    store.write(row(2))
    store.journal.rotate_if_full()
    store.append()
    epoch = store.journal.epoch
    store.close()
    list_segments(data.journal)[0].path.unlink()
    store = IngestStore(data)
    assert store.journal.epoch != epoch
    assert durations(stored(data)) == [1, 2]
    store.close()
