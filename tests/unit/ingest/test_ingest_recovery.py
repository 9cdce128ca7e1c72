"""Whatever the moment of a crash: every committed row is in the files once, and every line can be read."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfmon.paths import DataDirectory
from perfmon.wire import pack, unpack
from services.ingest import view
from services.ingest.core.placement import Placement
from shared.batch import build
from shared.journal import list_segments
from shared.timespan import DAY_MS
from tests.kit import line, stored, stored_by_file
from tests.kit.ingest_store import NOW, IngestStore, durations, row

FILE = "2025-10-31/files/read.jsonl"


def after_crash(store: IngestStore, target: Path, **settings: Any) -> list[float]:
    """The durations in the files after a recovery of a copy, which is left behind recovered and closed."""
    again = IngestStore(store.crashed_copy(target), **settings)
    assert again.view.seq == again.journal.head
    found = durations(stored(again.data))
    assert {
        path: (again.data.metrics / path).stat().st_size for path in again.view.registry.files()
    } == again.view.registry.files()
    again.close()
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_crash_between_any_two_steps_leaves_each_committed_row_once(
    seed: int, data: DataDirectory, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    store = IngestStore(data, segment_bytes=2_000, max_series=3)
    committed: list[float] = []
    for step in range(30):
        match rng.choice(["write", "write", "write", "append", "checkpoint", "rotate", "restart"]):
            case "write":
                rows = [
                    row(
                        step * 100 + at,
                        tool=rng.choice(["read", "Read", "write", "list", "../../x", "é" * 130]),
                        timestamp=NOW - rng.choice([0, 1, 14]) * 3_600_000,
                    )
                    for at in range(rng.randint(1, 4))
                ]
                committed += [r["duration"] for r in rows]
                store.write(*rows, producer="p", seq=step + 1)
            case "append":
                store.append()
            case "checkpoint":
                store.checkpoint()
            case "rotate":
                store.journal.rotate_if_full()
                store.journal.drop_before(store.journal.checkpoint_seq + 1)
            case "restart":
                store = store.recover_again(segment_bytes=2_000, max_series=3)
        copy = tmp_path / f"copy-{step}"
        assert after_crash(store, copy, max_series=3) == committed
        # and once more, right after the recovery, before any checkpoint
        again = IngestStore(DataDirectory(copy), max_series=3)
        assert durations(stored(again.data)) == committed
        again.close()
        shutil.rmtree(copy)
    store.close()


def test_a_tear_at_any_byte_of_the_last_append_is_mended(data: DataDirectory, tmp_path: Path) -> None:
    store = IngestStore(data)
    store.write(row(1), row(2))
    store.checkpoint()
    kept = (data.metrics / FILE).stat().st_size
    store.write(row(3, success=False, error="boom é"))
    store.append()
    full = (data.metrics / FILE).read_bytes()
    for size in range(kept, len(full) + 1):
        copy = store.crashed_copy(tmp_path / "copy")
        (copy.metrics / FILE).write_bytes(full[:size])
        again = IngestStore(copy)
        assert (copy.metrics / FILE).read_bytes() == full
        again.close()
        shutil.rmtree(copy.root)
    store.close()


@pytest.mark.parametrize(
    "tail", [b"garbage", b"\0" * 4096, b'{"timestamp":"2025-', b"\n", b"null\n", b"\xff\xfe\n" * 3]
)
@pytest.mark.parametrize("appended", [True, False])
def test_what_stands_beyond_the_registered_size_is_cut(
    tail: bytes, appended: bool, data: DataDirectory, tmp_path: Path
) -> None:
    store = IngestStore(data)
    store.write(row(1))
    store.checkpoint()
    store.write(row(2))
    if appended:
        store.append()
    copy = store.crashed_copy(tmp_path / "copy")
    with (copy.metrics / FILE).open("ab") as file:
        file.write(tail)
    again = IngestStore(copy)
    assert durations(stored(copy)) == [1, 2]
    again.close()
    store.close()


def _delete(path: Path) -> None:
    path.unlink()


def _shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [_delete, _shorten, _empty])
def test_a_file_that_was_cut_gets_its_end_from_the_journal_and_a_deleted_one_stays_gone(
    damage: Callable[[Path], None], data: DataDirectory, tmp_path: Path
) -> None:
    store = IngestStore(data)
    store.write(row(1), row(2), row(9, tool="other"))
    store.checkpoint()
    store.write(row(3))
    copy = store.crashed_copy(tmp_path / "copy")
    store.close()
    damage(copy.metrics / FILE)
    left = {_delete: [], _shorten: [1, 2], _empty: [1, 2]}[damage]
    again = IngestStore(copy)
    assert durations(stored(copy)) == [*left, 3, 9]
    again.write(row(4))
    again.append()
    again = again.recover_again()
    assert durations(stored(copy)) == [*left, 3, 4, 9]
    again.close()


@pytest.mark.parametrize("damage", [_delete, _shorten, _empty])
def test_a_file_shortened_while_ingest_runs_gets_no_hole_and_no_torn_line(
    damage: Callable[[Path], None], data: DataDirectory
) -> None:
    store = IngestStore(data)
    store.write(row(1), row(2))
    store.checkpoint()
    damage(data.metrics / FILE)
    left = {_delete: [], _shorten: [1], _empty: []}[damage]
    store.write(row(3))
    store.append()
    assert durations(stored(data)) == [*left, 3]
    assert store.view.registry.disturbed
    store.checkpoint()
    assert not store.view.registry.disturbed
    store = store.recover_again()
    assert durations(stored(data)) == [*left, 3]
    store.close()


def test_lines_somebody_appended_while_ingest_runs_tear_nothing(data: DataDirectory) -> None:
    store = IngestStore(data)
    store.write(row(1))
    store.append()
    with (data.metrics / FILE).open("ab") as file:
        file.write(b"x" * 1_000)
    store.write(row(2))
    store.append()
    assert durations(stored(data)) == [1, 2]
    store.close()


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


def test_case_twins_and_overflow_are_replayed_to_the_same_files(data: DataDirectory, tmp_path: Path) -> None:
    store = IngestStore(data, max_series=3)
    for number, tool in enumerate(["read", "Read", "READ", "more", "evenmore", "Read"]):
        store.write(row(number, tool=tool))
    copy = store.crashed_copy(tmp_path / "copy")
    store.append()
    again = IngestStore(copy, max_series=3)
    before, after = stored_by_file(data), stored_by_file(copy)
    assert before == after
    assert durations(before["2025-10-31/__overflow__/__overflow__.jsonl"]) == [3, 4]
    assert len(before) == 4
    again.write(row(7, tool="READ"), row(8, tool="unheard"))
    again.append()
    [twin] = [path for path, records in stored_by_file(copy).items() if records[0]["toolName"] == "READ"]
    assert durations(stored_by_file(copy)[twin]) == [2, 7]
    store.close()
    again.close()


def test_a_file_that_somebody_put_there_is_kept_and_continued(data: DataDirectory, tmp_path: Path) -> None:
    store = IngestStore(data)
    path = data.metrics / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(line("files", "read", "2025-10-31T01:00:00.000Z", 0.5) + b'{"torn')
    store.write(row(1))
    assert after_crash(store, tmp_path / "copy") == [0.5, 1]
    store.append()
    assert durations(stored(data)) == [0.5, 1]
    assert store.view.registry.index(NOW)["index"]["2025-10-31"]["files"]["count"] == 2
    assert after_crash(store, tmp_path / "copy2") == [0.5, 1]
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


# --- forgotten days -----------------------------------------------------------------------------------------------


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


# --- a journal that is new, gone or damaged ------------------------------------------------------------------------


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


@pytest.mark.parametrize("damage", [_flip_pages, _overwrite, _half, _empty, _delete])
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


def test_a_poisoned_entry_is_parked_and_the_others_are_written(data: DataDirectory) -> None:
    store = IngestStore(data)
    store.write(row(1))
    for body in (
        b"not msgpack",
        b"\x80",
        b"",
        b"\xc0",
        _body(paths=["../../../evil"]),
        _body(paths=["/etc/cron.d/x"]),
        _body(paths=5),
        _body(paths=[5]),
        _body(paths=[]),
        _body(ts=b"\xff\xff\xff\xff\xff\xff\xff\x7f"),
        _body(dictionary=[["\udc80", "x"]]),
    ):
        store.journal.commit([body], NOW)
    store.close()
    store = IngestStore(data)
    store.write(row(2))
    store.append()
    assert store.parking.total == 11
    assert durations(stored(data)) == [1, 2]
    assert store.view.seq == store.journal.head == 13
    store = store.recover_again()
    assert durations(stored(data)) == [1, 2]
    store.checkpoint()
    store.close()


def _body(**changes: Any) -> bytes:
    body = unpack(Placement(10).place(build([("files", "read", NOW, 66.0, True)])).encode())
    return pack(body | changes)


def test_a_tail_on_a_file_that_no_replay_touches_is_cut(data: DataDirectory) -> None:
    store = IngestStore(data)
    store.write(row(1))
    store.checkpoint()
    store.close()
    with (data.metrics / FILE).open("ab") as file:
        file.write(b'{"half a li')
    store = IngestStore(data)
    assert store.replayed == 0
    assert durations(stored(data)) == [1]
    store.close()


def test_call_ids_whose_file_was_never_written_come_back_from_the_journal(data: DataDirectory) -> None:
    store = IngestStore(data)
    store.write(row(1, callId="a"))
    store.checkpoint()
    store.write(row(2, callId="b"))
    store.close()
    for path in (data.state / "call-ids").iterdir():
        os.truncate(path, 16 + 7)  # the second digest is torn
    store = IngestStore(data)
    store.write(row(3, callId="a"), row(4, callId="b"), row(5, callId="c"))
    store.append()
    assert durations(stored(data)) == [1, 2, 5]
    store.close()


def test_a_message_is_known_across_restarts_and_rotations(data: DataDirectory) -> None:
    store = IngestStore(data, segment_bytes=10)
    for seq in (1, 2, 4):
        store.write(row(seq), producer="p", seq=seq)
        store.journal.rotate_if_full()
    for _ in range(2):
        store.checkpoint()
        store.journal.drop_before(store.journal.checkpoint_seq + 1)
        store = store.recover_again(segment_bytes=10)
        for seq in (4, 1, 2):
            store.write(row(seq), producer="p", seq=seq)
    store.write(row(3), producer="p", seq=3)
    store.append()
    assert durations(stored(data)) == [1, 2, 3, 4]
    place = store.core.producers.place("p")
    assert place is not None
    assert place.cumulative() == 4
    store.close()
