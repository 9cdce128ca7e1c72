"""Databases that hold state: ours, or not opened at all."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from shared.database import UntrustedDatabase, is_damage, is_full, open_database, open_readonly, set_aside

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, body BLOB);
CREATE INDEX IF NOT EXISTS events_by_body ON events (body);
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def test_a_new_database_is_private_durable_and_comes_back(path: Path) -> None:
    database = open_database(path, SCHEMA, 3)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database.execute("PRAGMA trusted_schema").fetchone() == (0,)
    database.execute("INSERT INTO facts VALUES ('a', 1)")
    database.close()
    again = open_database(path, SCHEMA, 3)
    assert again.execute("SELECT * FROM facts").fetchall() == [("a", 1)]
    assert again.execute("PRAGMA user_version").fetchone() == (3,)
    again.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON facts BEGIN DELETE FROM facts; END",
        "CREATE VIEW v AS SELECT * FROM facts",
        "CREATE TABLE more (x)",
        "CREATE INDEX i ON facts (value)",
        "DROP INDEX events_by_body; CREATE TABLE events_by_body (x)",
        "ALTER TABLE facts ADD COLUMN extra",
        "ALTER TABLE events RENAME COLUMN body TO content",
        "DROP TABLE facts; CREATE TABLE facts (key TEXT PRIMARY KEY, value INTEGER NOT NULL AS (1)) WITHOUT ROWID",
        "DROP TABLE facts; CREATE VIEW facts AS SELECT 1 AS key, 2 AS value",
        "PRAGMA user_version = 4",
    ],
)
def test_a_database_with_anything_else_in_it_is_refused(path: Path, statement: str) -> None:
    open_database(path, SCHEMA, 3).close()
    hostile = sqlite3.connect(path)
    hostile.executescript(statement)
    hostile.close()
    with pytest.raises(UntrustedDatabase):
        open_database(path, SCHEMA, 3)


@pytest.mark.parametrize("content", [b"not a database" * 1_000, b"SQLite format 3\x00" + b"\xff" * 8_000])
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UntrustedDatabase):
        open_database(path, SCHEMA, 1)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_a_link_is_refused_and_what_it_leads_to_is_left_alone(path: Path, suffix: str) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    planted = path.with_name(path.name + suffix)
    planted.symlink_to(victim)
    with pytest.raises(UntrustedDatabase):
        open_database(path, SCHEMA, 1)
    set_aside(path)
    open_database(path, SCHEMA, 1).close()
    assert victim.read_bytes() == b"precious"


def test_a_folder_is_refused_and_can_be_set_aside(path: Path) -> None:
    path.mkdir()
    with pytest.raises(UntrustedDatabase):
        open_database(path, SCHEMA, 1)
    assert set_aside(path).is_dir()
    open_database(path, SCHEMA, 1).close()


def test_set_aside_keeps_everything_under_a_new_name(path: Path) -> None:
    for number in (1, 2):
        database = open_database(path, SCHEMA, 1)
        database.execute("INSERT INTO facts VALUES ('a', ?)", (number,))
        companions = {p.name for p in path.parent.iterdir() if p.name.startswith("state.db-")}
        target = set_aside(path)
        database.close()
        assert target.name == f"state.db.unusable-{number}"
        assert companions
    assert not path.exists()
    assert not path.with_name("state.db-wal").exists()


def test_a_lock_held_by_another_is_not_taken_for_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.database.BUSY_TIMEOUT_MS", 1)
    open_database(path, SCHEMA, 1).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError) as refused:
        open_database(path, SCHEMA, 1)
    assert not is_damage(refused.value)
    other.close()


def test_a_full_disk_is_told_from_damage() -> None:
    database = sqlite3.connect(":memory:")
    database.execute("PRAGMA max_page_count = 3")
    database.execute("CREATE TABLE t (x)")
    with pytest.raises(sqlite3.OperationalError) as full:
        database.execute("INSERT INTO t VALUES (zeroblob(100000))")
    assert is_full(full.value)
    assert not is_damage(full.value)
    with pytest.raises(sqlite3.OperationalError) as wrong:
        database.execute("SELECT nothing")
    assert is_damage(wrong.value)
    assert not is_full(wrong.value)
    database.close()


@pytest.mark.parametrize(("number", "full"), [(28, True), (122, True), (13, False), (5, False)])
def test_a_full_disk_is_told_from_other_errors_of_files(number: int, full: bool) -> None:
    assert is_full(OSError(number, "x")) is full
    assert not is_full(None)


def test_a_readonly_connection_changes_nothing_and_makes_no_file(path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        open_readonly(path).execute("SELECT 1 FROM facts")
    assert not path.exists()
    open_database(path, SCHEMA, 1).close()
    database = open_readonly(path)
    with pytest.raises(sqlite3.OperationalError):
        database.execute("INSERT INTO facts VALUES ('a', 1)")
    database.close()


def test_a_path_with_reserved_characters_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "a?mode=rw#b%20.db"
    open_database(path, SCHEMA, 1).close()
    open_readonly(path).close()
    assert path.exists()
