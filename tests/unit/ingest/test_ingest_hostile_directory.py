"""A data directory that came with someone's clone: nothing outside it is read into, cut or written, and ingest goes on."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from perfmon.paths import DataDirectory
from services.ingest.tree import MetricTree, is_metric_path
from shared.journal.segment import segment_path
from tests.kit import stored
from tests.kit.ingest_store import NOW, IngestStore, durations, row

FILE = "2025-10-31/files/read.jsonl"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim.jsonl"
    path.write_bytes(b"precious\nand torn")
    return path


@pytest.mark.parametrize(
    "path",
    [
        "../../victim.jsonl",
        "/etc/passwd",
        "2025-10-31/../../victim.jsonl",
        "2025-10-31/./x.jsonl",
        "2025-10-31/files/../x.jsonl",
        "2025-10-31/files/.x.jsonl",
        "2025-10-31/files/x.jsonl\n",
        "2025-10-31/files/x",
        "2025-10-31/files/a/b.jsonl",
        "2025-10-31//x.jsonl",
        "day/files/x.jsonl",
        "2025-10-31/files/a\x00b.jsonl",
        "٢٠٢٥-10-31/files/x.jsonl",
        f"2025-10-31/{'x' * 300}/x.jsonl",
        "",
    ],
    ids=repr,
)
def test_a_path_that_is_not_ours_is_told(path: str) -> None:
    assert not is_metric_path(path)


@pytest.mark.parametrize("path", [FILE, "2025-10-31/%2E%2E/a~0123.jsonl", "2024-02-29/-rf/__overflow__.jsonl"])
def test_a_path_of_ours_is_told(path: str) -> None:
    assert is_metric_path(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../../victim.jsonl"},
        {"path": "{victim}"},
        {"path": b"\xff"},
        {"size": -5},
        {"size": "many"},
        {"size": b"x"},
        {"lines": "x"},
        {"first_ms": "x"},
        {"server": b"\xff"},
        {"tool": ""},
        {"path": FILE, "size": None},
    ],
    ids=repr,
)
def test_a_registered_file_that_is_not_ours_is_forgotten_and_not_touched(
    changes: dict[str, Any], data: DataDirectory, victim: Path
) -> None:
    store = IngestStore(data)
    store.write(row(1))
    store.checkpoint()
    store.close()
    values = {
        "path": "2025-10-31/a/b.jsonl",
        "size": 0,
        "lines": 0,
        "first_ms": 1,
        "last_ms": 1,
        "server": "a",
        "tool": "b",
    }
    values |= changes
    if values["path"] == "{victim}":
        values["path"] = str(victim)
    if values["size"] is None:
        values["size"] = 3.5
    database = sqlite3.connect(segment_path(data.journal, 1))
    database.execute("INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", tuple(values.values()))
    database.commit()
    database.close()
    store = IngestStore(data)
    assert victim.read_bytes() == b"precious\nand torn"
    store.write(row(2))
    store.append()
    store = store.recover_again()
    assert durations(stored(data)) == [1, 2]
    assert list(store.view.registry.files()) == [FILE]
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE meta SET value = 'zzz' WHERE key = 'checkpoint_seq'",
        "UPDATE meta SET value = '99' WHERE key = 'checkpoint_seq'",
        "UPDATE meta SET value = '-1' WHERE key = 'checkpoint_seq'",
        "DELETE FROM meta WHERE key = 'checkpoint_seq'",
        "INSERT INTO entries VALUES (9223372036854775806, 0, x'80')",
        "INSERT INTO meta VALUES ('forgotten:2025-10-31', 'soon')",
        "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE more (x)",
        "CREATE INDEX i ON entries (committed_ms)",
        "ALTER TABLE files ADD COLUMN more TEXT",
        "DROP TABLE files; CREATE VIEW files AS SELECT 1 AS path",
        "PRAGMA user_version = 99",
    ],
)
def test_a_journal_that_is_not_ours_is_set_aside(statement: str, data: DataDirectory) -> None:
    store = IngestStore(data)
    store.write(row(1))
    store.checkpoint()
    epoch = store.journal.epoch
    store.close()
    database = sqlite3.connect(segment_path(data.journal, 1))
    database.executescript(statement)
    database.close()
    store = IngestStore(data)
    assert store.journal.epoch != epoch
    assert any(path.name.endswith("unusable-1") for path in data.journal.iterdir())
    store.write(row(2))
    store.append()
    assert durations(stored(data)) == [1, 2]
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO producers VALUES ('p', 'many', x'01', 1)",
        "INSERT INTO producers VALUES ('p', 5, 'text', 1)",
        "INSERT INTO producers VALUES ('p', 5, x'01', 'then')",
        "INSERT INTO producers VALUES (x'ff', 5, x'01', 1)",
        "INSERT INTO entries VALUES (2, 'then', x'80')",
        "INSERT INTO entries VALUES (2, 5, 'text')",
        "INSERT INTO entries VALUES (2, 5, 77)",
    ],
)
def test_rows_of_a_wrong_type_are_passed_over(statement: str, data: DataDirectory) -> None:
    store = IngestStore(data)
    store.write(row(1))
    store.close()
    database = sqlite3.connect(segment_path(data.journal, 1))
    database.execute(statement)
    database.commit()
    database.close()
    store = IngestStore(data)
    store.write(row(2), producer="q", seq=1)
    store.append()
    assert durations(stored(data)) == [1, 2]
    store.close()


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_in_the_place_of_a_segment_or_its_companions_is_not_followed(
    suffix: str, dangling: bool, data: DataDirectory, victim: Path
) -> None:
    data.journal.mkdir(parents=True)
    target = victim.with_name("nothing-there") if dangling else victim
    path = segment_path(data.journal, 1)
    path.with_name(path.name + suffix).symlink_to(target)
    store = IngestStore(data)
    store.write(row(1))
    store.append()
    store.close()
    assert durations(stored(data)) == [1]
    assert victim.read_bytes() == b"precious\nand torn"
    assert not victim.with_name("nothing-there").exists()


def test_a_folder_in_the_place_of_a_segment_is_moved_aside(data: DataDirectory) -> None:
    segment_path(data.journal, 1).mkdir(parents=True)
    store = IngestStore(data)
    store.write(row(1))
    store.append()
    assert durations(stored(data)) == [1]
    store.close()


def _link_to_file(path: Path, victim: Path) -> None:
    path.parent.mkdir(parents=True)
    path.symlink_to(victim)


def _dangling_link(path: Path, victim: Path) -> None:
    path.parent.mkdir(parents=True)
    path.symlink_to(victim.with_name("nothing-there"))


def _folder_for_file(path: Path, victim: Path) -> None:
    (path / "inside").mkdir(parents=True)


def _server_link(path: Path, victim: Path) -> None:
    path.parent.parent.mkdir(parents=True)
    path.parent.symlink_to(victim.parent)


def _server_file(path: Path, victim: Path) -> None:
    path.parent.parent.mkdir(parents=True)
    path.parent.write_text("in the way")


def _day_link(path: Path, victim: Path) -> None:
    path.parent.parent.parent.mkdir(parents=True)
    path.parent.parent.symlink_to(victim.parent)


def _day_file(path: Path, victim: Path) -> None:
    path.parent.parent.parent.mkdir(parents=True)
    path.parent.parent.write_text("in the way")


PLANTED = [_link_to_file, _dangling_link, _folder_for_file, _server_link, _server_file, _day_link, _day_file]


@pytest.mark.parametrize("plant", PLANTED)
def test_what_stands_in_the_way_of_a_file_is_moved_aside(plant: Any, data: DataDirectory, victim: Path) -> None:
    (victim.parent / "files").mkdir()
    (victim.parent / "files" / "read.jsonl").write_bytes(b"torn outside")
    (victim.parent / "read.jsonl").write_bytes(b"torn outside")
    plant(data.metrics / FILE, victim)
    store = IngestStore(data)
    store.write(row(1), row(2, tool="other", server="else"))
    store.append()
    records = (data.metrics / FILE).read_bytes()
    assert records.count(b"\n") == 1
    assert not (data.metrics / FILE).is_symlink()
    assert store.view.seq == 1
    assert victim.read_bytes() == b"precious\nand torn"
    assert (victim.parent / "files" / "read.jsonl").read_bytes() == b"torn outside"
    assert (victim.parent / "read.jsonl").read_bytes() == b"torn outside"
    assert not victim.with_name("nothing-there").exists()
    store = store.recover_again()
    store.forget_day("2025-10-31")
    assert not (data.metrics / "2025-10-31").exists()
    assert victim.exists()
    assert (victim.parent / "files" / "read.jsonl").exists()
    store.close()


def test_a_link_that_appears_while_ingest_is_down_is_not_cut(data: DataDirectory, victim: Path) -> None:
    store = IngestStore(data)
    store.write(row(1))
    store.checkpoint()
    store.close()
    (data.metrics / FILE).unlink()
    (data.metrics / FILE).symlink_to(victim)
    store = IngestStore(data)
    store.write(row(2))
    store.append()
    assert victim.read_bytes() == b"precious\nand torn"
    assert (data.metrics / FILE).read_bytes().count(b"\n") == 1
    store.close()


def test_a_hard_link_that_appears_while_ingest_is_down_is_neither_cut_nor_written(
    data: DataDirectory, victim: Path
) -> None:
    store = IngestStore(data)
    store.write(row(1))
    store.checkpoint()
    store.close()
    (data.metrics / FILE).unlink()
    (data.metrics / FILE).hardlink_to(victim)
    store = IngestStore(data)
    store.write(row(2))
    store.append()
    assert victim.read_bytes() == b"precious\nand torn"
    assert victim.stat().st_nlink == 1
    store.close()


def test_a_store_that_was_backed_up_by_hard_links_goes_on_with_all_it_had(data: DataDirectory, tmp_path: Path) -> None:
    store = IngestStore(data)
    store.write(row(1))
    store.checkpoint()
    store.close()
    backup = tmp_path / "backup.jsonl"
    backup.hardlink_to(data.metrics / FILE)
    before = backup.read_bytes()
    store = IngestStore(data)
    store.write(row(2))
    store.append()
    assert backup.read_bytes() == before
    assert durations(stored(data)) == [1, 2]
    store.close()


def test_a_linked_day_is_removed_without_what_it_leads_to(data: DataDirectory, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    data.metrics.mkdir(parents=True)
    (data.metrics / "2025-10-30").symlink_to(outside)
    (data.metrics / "2025-10-31").mkdir()
    (data.metrics / "2025-10-31" / "server").symlink_to(outside)
    tree = MetricTree(data.metrics)
    assert tree.remove_day("2025-10-30") == (0, 0)
    assert tree.remove_day("2025-10-31")[0] == 1
    assert list(data.metrics.iterdir()) == []
    assert (outside / "kept").exists()


def test_planted_links_for_call_ids_are_not_followed(data: DataDirectory, victim: Path) -> None:
    folder = data.state / "call-ids"
    folder.mkdir(parents=True)
    (folder / f"{NOW // 3_600_000}.ids").symlink_to(victim)
    (folder / f"{NOW // 3_600_000 - 1}.ids").mkdir()
    store = IngestStore(data)
    store.write(row(1, callId="a"))
    store.write(row(1, callId="a"))
    store.append()
    assert durations(stored(data)) == [1]
    assert victim.read_bytes() == b"precious\nand torn"
    store.close()


@pytest.mark.parametrize(("day", "mode"), [(0o777, 0o755), (0o700, 0o777)])
def test_folders_that_others_can_enter_are_tightened(day: int, mode: int, data: DataDirectory) -> None:
    folder = data.metrics / FILE
    folder.parent.mkdir(parents=True)
    folder.parent.parent.chmod(day)
    folder.parent.chmod(mode)
    store = IngestStore(data)
    store.write(row(1))
    store.append()
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert folder.parent.parent.stat().st_mode & 0o777 == 0o700
    assert folder.stat().st_mode & 0o777 == 0o600
    store.close()
