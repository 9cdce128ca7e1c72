"""The journal: what was committed is read in order, once, across segments and restarts."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.database import open_database
from shared.journal import JournalReader, LostPlace, list_segments, witness
from shared.journal.producers import ALWAYS_KEPT, KEPT_MS
from shared.journal.reader import PAGE_BYTES, PAGE_ENTRIES
from shared.journal.segment import SCHEMA, VERSION, segment_path
from shared.journal.writer import JournalWriter, ProducerPlace, RegisteredFile

FILE = RegisteredFile("2025-10-31/a/b.jsonl", 10, 1, 1, 2, "a", "b")


def writer_on(path: Path, *, segment_bytes: int = 2**26, store_empty: bool = True) -> JournalWriter:
    path.mkdir(exist_ok=True)
    return JournalWriter(path, segment_bytes=segment_bytes, store_empty=store_empty)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(path: Path) -> Iterator[JournalWriter]:
    made = writer_on(path)
    yield made
    made.close()


@pytest.fixture
def reader(path: Path) -> Iterator[JournalReader]:
    made = JournalReader(path)
    yield made
    made.close()


def read_all(reader: JournalReader, after: int = 0) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while page := reader.page(after):
        found += [(entry.seq, entry.body) for entry in page]
        after = page[-1].seq
    return found


def test_entries_come_back_in_order_with_their_time(journal: JournalWriter, reader: JournalReader) -> None:
    assert journal.commit([b"one", b"two"], 1_000) == 2
    assert journal.commit([b"three"], 2_000) == 3
    assert [tuple(entry) for entry in reader.page(0)] == [(1, 1_000, b"one"), (2, 1_000, b"two"), (3, 2_000, b"three")]
    assert reader.page(3) == []
    assert reader.epoch() == journal.epoch


def test_a_reader_before_the_first_journal_finds_nothing(path: Path, reader: JournalReader) -> None:
    assert reader.epoch() is None
    assert reader.page(0) == []
    assert not reader.began_empty()


def test_a_failed_commit_stores_nothing_of_it(journal: JournalWriter, reader: JournalReader) -> None:
    journal.commit([b"one"], 1)

    def bodies() -> Iterator[bytes]:
        yield b"two"
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(sqlite3.OperationalError):
        journal.commit(bodies(), 2, producers=[ProducerPlace("p", 1, b"\1", 2)])
    assert journal.head == 1
    assert journal.producers() == []
    assert journal.commit([b"2"], 3) == 2
    assert read_all(reader) == [(1, b"one"), (2, b"2")]


def test_everything_is_there_after_a_restart(path: Path) -> None:
    journal = writer_on(path)
    place = ProducerPlace("p", 7, b"\x03", 99)
    journal.commit([b"one"], 1, producers=[place], new_files=[FILE._replace(size=0)])
    journal.commit([b"two"], 2, new_files=[FILE])
    journal.checkpoint(1, [FILE._replace(size=20)])
    epoch = journal.epoch
    journal.close()
    again = writer_on(path)
    assert (again.epoch, again.head, again.checkpoint_seq) == (epoch, 2, 1)
    assert again.producers() == [place]
    assert again.files() == [FILE._replace(size=20)]
    again.close()


def test_a_new_file_is_registered_once_with_what_was_found(journal: JournalWriter) -> None:
    journal.commit([b"x"], 1, new_files=[FILE, FILE._replace(size=99)])
    assert journal.files() == [FILE]
    journal.forget([FILE.path])
    assert journal.files() == []


def test_rotation_carries_over_what_a_recovery_needs(path: Path, reader: JournalReader) -> None:
    journal = writer_on(path, segment_bytes=4)
    journal.commit([b"one"], 1)
    assert not journal.rotate_if_full()
    journal.commit([b"two"], 2, producers=[ProducerPlace("p", 1, b"\1", 1)], new_files=[FILE])
    assert journal.rotate_if_full()
    journal.commit([b"three"], 3)
    journal.checkpoint(2, [])
    assert [info.first_seq for info in list_segments(path)] == [1, 3]
    assert read_all(reader) == [(1, b"one"), (2, b"two"), (3, b"three")]
    assert journal.drop_before(3) == 1
    epoch = journal.epoch
    journal.close()
    again = writer_on(path, segment_bytes=4)
    assert (again.epoch, again.head, again.checkpoint_seq) == (epoch, 3, 2)
    assert again.producers() == [ProducerPlace("p", 1, b"\1", 1)]
    assert again.files() == [FILE]
    again.close()


def test_only_whole_segments_below_the_sequence_are_dropped(path: Path) -> None:
    journal = writer_on(path, segment_bytes=1)
    for number in range(4):
        journal.commit([b"x"], number)
        journal.rotate_if_full()
    first = [info.first_seq for info in list_segments(path)]
    assert first == [1, 2, 3, 4, 5]
    assert journal.drop_before(0) == 0
    assert journal.drop_before(3) == 2
    assert [info.first_seq for info in list_segments(path)] == [3, 4, 5]
    assert journal.drop_before(1_000) == 2
    assert [info.first_seq for info in list_segments(path)] == [5]
    assert {name.name.partition(".db")[0] for name in path.glob("segment-*")} == {"segment-0000000000000005"}
    journal.close()


def test_a_reader_whose_entry_is_gone_is_told_so(path: Path, reader: JournalReader) -> None:
    journal = writer_on(path, segment_bytes=1)
    for number in range(3):
        journal.commit([b"x"], number)
        journal.rotate_if_full()
    assert reader.page(0)[0].seq == 1
    journal.drop_before(3)
    with pytest.raises(LostPlace) as lost:
        reader.page(1)
    assert (lost.value.after, lost.value.oldest) == (1, 3)
    assert [entry.seq for entry in reader.page(2)] == [3]
    journal.close()


def test_a_missing_entry_in_the_middle_is_a_lost_place(path: Path, reader: JournalReader) -> None:
    journal = writer_on(path, segment_bytes=1)
    for number in range(3):
        journal.commit([b"x"], number)
        journal.rotate_if_full()
    journal.close()
    list_segments(path)[1].path.unlink()
    assert [entry.seq for entry in reader.page(0)] == [1]
    with pytest.raises(LostPlace):
        reader.page(1)


def test_pages_are_bounded_by_entries_and_bytes_but_never_empty(journal: JournalWriter, reader: JournalReader) -> None:
    journal.commit([b"x"] * (PAGE_ENTRIES + 5), 1)
    assert len(reader.page(0)) == PAGE_ENTRIES
    assert len(reader.page(PAGE_ENTRIES)) == 5
    head = journal.head
    large = bytes(PAGE_BYTES // 2 + 1)
    journal.commit([large, large, bytes(PAGE_BYTES + 1), b"y"], 2)
    assert [entry.seq for entry in reader.page(head)] == [head + 1]
    assert [entry.seq for entry in reader.page(head + 1)] == [head + 2]
    assert [entry.seq for entry in reader.page(head + 2)] == [head + 3]
    assert [entry.seq for entry in reader.page(head + 3)] == [head + 4]


@pytest.mark.parametrize("stage", ["created", "tables"])
def test_a_rotation_killed_before_its_first_transaction_is_undone(path: Path, stage: str) -> None:
    journal = writer_on(path)
    journal.commit([b"one"], 1)
    epoch = journal.epoch
    journal.close()
    torn = segment_path(path, 2)
    if stage == "created":
        torn.touch()
    else:
        open_database(torn, SCHEMA, VERSION).close()
    again = writer_on(path)
    assert (again.epoch, again.head) == (epoch, 1)
    assert not torn.exists()
    assert again.commit([b"two"], 2) == 2
    again.close()


def test_a_failed_rotation_goes_on_in_the_old_segment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = writer_on(path, segment_bytes=1)
    journal.commit([b"one"], 1)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shared.journal.writer.sync_directory", refuse)
        with pytest.raises(OSError, match="No space"):
            journal.rotate_if_full()
    assert [info.first_seq for info in list_segments(path)] == [1]
    assert journal.commit([b"two"], 2) == 2
    assert journal.rotate_if_full()
    journal.close()


def test_an_unreadable_segment_is_set_aside_and_a_new_epoch_begins(path: Path) -> None:
    journal = writer_on(path)
    journal.commit([b"one"], 1)
    epoch = journal.epoch
    journal.close()
    segment_path(path, 1).write_bytes(b"scribbled over" * 1_000)
    again = writer_on(path)
    assert again.epoch != epoch
    assert (again.head, again.fresh) == (0, True)
    assert (path / "segment-0000000000000001.db.unusable-1").read_bytes().startswith(b"scribbled")
    again.close()


def test_a_moments_trouble_is_not_taken_for_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = writer_on(path)
    journal.commit([b"one"], 1)
    epoch = journal.epoch
    journal.close()
    holder = sqlite3.connect(segment_path(path, 1), isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr("shared.database.BUSY_TIMEOUT_MS", 1)
    with pytest.raises(sqlite3.OperationalError):
        writer_on(path)
    holder.close()
    again = writer_on(path)
    assert (again.epoch, again.head) == (epoch, 1)
    again.close()


def test_a_fresh_journal_stays_fresh_until_the_store_is_adopted(path: Path) -> None:
    journal = writer_on(path)
    assert journal.fresh
    journal.close()
    journal = writer_on(path)
    assert journal.fresh
    journal.adopt([FILE])
    assert not journal.fresh
    journal.close()
    journal = writer_on(path)
    assert not journal.fresh
    assert journal.files() == [FILE]
    journal.close()


@pytest.mark.parametrize("store_empty", [True, False])
def test_a_journal_remembers_whether_it_tells_everything(path: Path, reader: JournalReader, store_empty: bool) -> None:
    journal = writer_on(path, segment_bytes=1, store_empty=store_empty)
    journal.commit([b"x"], 1)
    journal.rotate_if_full()
    assert reader.began_empty() is store_empty
    journal.close()


def test_a_reader_notices_that_the_journal_was_replaced(path: Path, reader: JournalReader) -> None:
    journal = writer_on(path)
    journal.commit([b"old"], 1)
    assert reader.page(0)[0].body == b"old"
    for file in path.iterdir():
        file.unlink()
    journal.close()
    fresh = writer_on(path)
    fresh.commit([b"new"], 1)
    assert reader.epoch() == fresh.epoch
    assert reader.page(0)[0].body == b"new"
    fresh.close()


def test_forgotten_days_are_known_until_a_checkpoint_is_past_them(path: Path) -> None:
    journal = writer_on(path, segment_bytes=1)
    other = FILE._replace(path="2025-10-30/a/b.jsonl")
    journal.commit([b"x", b"y"], 1, new_files=[FILE, other])
    journal.forget_day("2025-10-31")
    assert journal.files() == [other]
    assert journal.forgotten_days() == {"2025-10-31": 2}
    journal.rotate_if_full()
    journal.close()
    journal = writer_on(path, segment_bytes=1)
    assert journal.forgotten_days() == {"2025-10-31": 2}
    journal.checkpoint(1, [])
    assert journal.forgotten_days() == {"2025-10-31": 2}
    journal.checkpoint(2, [])
    assert journal.forgotten_days() == {}
    journal.close()


def test_what_is_not_a_segment_is_not_listed(path: Path, journal: JournalWriter, tmp_path: Path) -> None:
    journal.commit([b"x"], 1)
    (path / "segment-2.db").touch()
    (path / "segment-0000000000000003.db.bak").touch()
    (path / "segment-0000000000000004.db").mkdir()
    (tmp_path / "elsewhere").touch()
    (path / "segment-0000000000000005.db").symlink_to(tmp_path / "elsewhere")
    [info] = list_segments(path)
    assert info.first_seq == 1
    assert info.size_bytes >= info.path.stat().st_size
    assert list_segments(path / "missing") == []


@pytest.mark.parametrize("apart_ms", [1, KEPT_MS])
def test_producers_silent_for_a_day_are_left_behind_at_a_rotation_when_there_are_many(
    path: Path, apart_ms: int
) -> None:
    journal = writer_on(path, segment_bytes=1)
    places = [ProducerPlace(f"p{number}", 1, b"\1", number * apart_ms) for number in range(ALWAYS_KEPT + 5)]
    journal.commit([b"x"], 1, producers=places)
    journal.rotate_if_full()
    kept = {place.producer for place in journal.producers()}
    assert len(kept) == (ALWAYS_KEPT + 5 if apart_ms == 1 else ALWAYS_KEPT)
    assert "p5" in kept
    journal.close()


def test_segments_are_private(path: Path, journal: JournalWriter) -> None:
    old = os.umask(0o022)
    try:
        journal.commit([b"x"], 1)
        assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o600}
    finally:
        os.umask(old)


# --- the witness ----------------------------------------------------------------------------------------------------


def test_a_journal_that_lacks_its_last_commits_is_distrusted(path: Path) -> None:
    journal = writer_on(path)
    journal.commit([b"1"], 1)
    before = wal_of(path).stat().st_size
    journal.commit([b"2", b"3"], 2)
    os.truncate(wal_of(path), before)
    again = writer_on(path)
    assert again.head == 1
    assert again.distrusted == "2 committed entries after 1 are gone"
    again.start_over("it lost its end")
    assert again.distrusted is None
    assert writer_on(path).distrusted is None


def test_a_new_epoch_knows_the_producers_of_the_old_one_whenever_it_was_killed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ProducerPlace("someone", 7, b"\x01", 5)
    journal = writer_on(path)
    journal.commit([b"1"], 1, producers=[place])
    moments = []

    def copy(call: Callable[..., object]) -> Callable[..., object]:
        def copied(*args: object) -> object:
            found = call(*args)
            moments.append(shutil.copytree(path, tmp_path / f"moment-{len(moments)}"))
            return found

        return copied

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", copy(Path.rename))
        journal.start_over("it is damaged", [place])
    assert journal.producers() == [place]
    assert journal.fresh
    assert len(moments) > 1
    for moment in moments:
        again = writer_on(moment)
        if again.distrusted:
            again.start_over("still", again.producers())
        assert again.epoch != "", moment
        assert again.producers() == [place], moment


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64])
def test_a_witness_that_is_none_says_nothing(content: bytes, path: Path) -> None:
    writer_on(path).commit([b"1"], 1)
    (path / witness.FILE_NAME).write_bytes(content)
    again = writer_on(path)
    assert again.distrusted is None
    again.commit([b"2"], 2)
    assert writer_on(path).distrusted is None


def test_a_witness_of_an_older_moment_says_nothing(path: Path) -> None:
    journal = writer_on(path)
    journal.commit([b"1"], 1)
    older = (path / witness.FILE_NAME).read_bytes()
    journal.commit([b"2"], 2)
    (path / witness.FILE_NAME).write_bytes(older)
    assert writer_on(path).distrusted is None


def test_a_link_in_the_place_of_the_witness_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path.mkdir(exist_ok=True)
    (path / witness.FILE_NAME).symlink_to(victim)
    writer_on(path).commit([b"1"], 1)
    assert victim.read_bytes() == b"precious"


def test_damage_that_a_commit_meets_is_remembered(path: Path) -> None:
    journal = writer_on(path)
    journal.commit([b"1"], 1)
    other = sqlite3.connect(list_segments(path)[0].path)
    other.execute("INSERT INTO entries VALUES (2, 0, x'00')")
    other.commit()
    other.close()
    with pytest.raises(sqlite3.IntegrityError):
        journal.commit([b"2"], 2)
    journal.close()
    assert writer_on(path).distrusted == "it was found damaged"


def wal_of(path: Path) -> Path:
    newest = list_segments(path)[-1].path
    return newest.with_name(newest.name + "-wal")
