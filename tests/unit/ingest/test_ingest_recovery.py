"""Whatever the moment of a crash: every committed row is in the files once, and every line can be read."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfmon.paths import DataDirectory
from perfmon.wire import pack, unpack
from services.ingest.core.placement import Placement
from shared.batch import build
from tests.kit import line, stored, stored_by_file
from tests.kit.ingest_store import NOW, IngestStore, durations, row
from tests.unit.ingest.recovery_kit import FILE, after_crash, delete, empty, shorten


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


@pytest.mark.parametrize("damage", [delete, shorten, empty])
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
    left = {delete: [], shorten: [1, 2], empty: [1, 2]}[damage]
    again = IngestStore(copy)
    assert durations(stored(copy)) == [*left, 3, 9]
    again.write(row(4))
    again.append()
    again = again.recover_again()
    assert durations(stored(copy)) == [*left, 3, 4, 9]
    again.close()


@pytest.mark.parametrize("damage", [delete, shorten, empty])
def test_a_file_shortened_while_ingest_runs_gets_no_hole_and_no_torn_line(
    damage: Callable[[Path], None], data: DataDirectory
) -> None:
    store = IngestStore(data)
    store.write(row(1), row(2))
    store.checkpoint()
    damage(data.metrics / FILE)
    left = {delete: [], shorten: [1], empty: []}[damage]
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
