"""The detector's state on disk: `state/detector.db`.

One transaction holds the place in the journal, every series that changed, every event that changed, and what is still owed to
the anomaly files and the alerter. So after a crash the state is that of the place, and what is owed is done again; both the
files and the alerter recognise an event's id. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from services.detector.core.engine import Engine
from services.detector.core.events import Book, Event, from_record, to_record
from services.detector.core.metrics import STORED_LEVEL
from services.detector.core.state.codec import (
    BadState,
    decode_chunk,
    decode_series,
    decode_server,
    encode_chunk,
    encode_series,
    encode_servers,
    oldest_chunk,
)
from shared.batch import Series
from shared.consumer import Position
from shared.database import UntrustedDatabase, open_database, open_readonly, set_aside

FILE_NAME: Final = "detector.db"
VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL, seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS series (
    number INTEGER PRIMARY KEY, server TEXT NOT NULL, tool TEXT NOT NULL, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS server (name TEXT PRIMARY KEY, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS chunk (
    number INTEGER NOT NULL, chunk INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (number, chunk)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
    id TEXT PRIMARY KEY, server TEXT NOT NULL, start_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    level INTEGER NOT NULL, open INTEGER NOT NULL, record TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_by_time ON event (last_ms);
CREATE TABLE IF NOT EXISTS line (
    id TEXT NOT NULL, phase TEXT NOT NULL, day TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (id, phase));
CREATE TABLE IF NOT EXISTS raised (id TEXT PRIMARY KEY, body TEXT NOT NULL);
"""


class Debts(NamedTuple):
    """What is owed to the anomaly files and the alerter, and what of it no longer is."""

    lines: Iterable[tuple[str, str, str, bytes]]
    raises: Iterable[tuple[str, dict[str, Any]]]
    done: Iterable[tuple[str, str]]
    delivered: Iterable[str]


class Database:
    """Owns the connection; used by one thread at a time (the consumer's lock), except `recent`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set_aside_total = 0
        self._connection = self._open()

    def load(self, engine: Engine, book: Book, since_ms: int) -> Position | None:
        """Fill engine and book (open events and those since `since_ms`); the place, None when there is none.

        A database that cannot be read is set aside and a new one begun.
        """
        try:
            return self._load(engine, book, since_ms)
        except (BadState, ValueError, TypeError, sqlite3.DatabaseError) as error:
            self.replace()
            raise StateDamaged(str(error)) from error

    def replace(self) -> None:
        """Set the database aside and begin a new one."""
        self._connection.close()
        set_aside(self.path)
        self.set_aside_total += 1
        self._connection = self._open()

    def owed_lines(self) -> list[tuple[str, str, str, bytes]]:
        """(id, phase, day, line) still owed to the anomaly files, in order."""
        return [
            (str(name), str(phase), str(day), bytes(body))
            for name, phase, day, body in self._connection.execute(
                "SELECT id, phase, day, body FROM line ORDER BY rowid"
            )
        ]

    def owed_raises(self) -> list[tuple[str, dict[str, Any]]]:
        """(id, anomaly) still owed to the alerter, in order."""
        rows = self._connection.execute("SELECT id, body FROM raised ORDER BY rowid").fetchall()
        return [(str(name), json.loads(body)) for name, body in rows]

    def save(self, position: Position, engine: Engine, book: Book, debts: Debts) -> None:
        """One durable transaction of everything that changed; what changed is clean after it."""
        execute, many = self._connection.execute, self._connection.executemany
        changed = [series for series in engine.series.values() if series.dirty or series.changed_chunks]
        execute("BEGIN IMMEDIATE")
        try:
            execute("INSERT OR REPLACE INTO place VALUES (1, ?, ?)", position)
            many("DELETE FROM series WHERE number = ?", [(number,) for number in engine.gone])
            many("DELETE FROM chunk WHERE number = ?", [(number,) for number in engine.gone])
            many(
                "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?)",
                ((s.number, s.key.server, s.key.tool, encode_series(s)) for s in changed),
            )
            many("DELETE FROM server WHERE name = ?", [(name,) for name in engine.servers.gone])
            many("INSERT OR REPLACE INTO server VALUES (?, ?)", list(encode_servers(engine.servers)))
            many("INSERT OR REPLACE INTO chunk VALUES (?, ?, ?)", _chunks(engine))
            many("INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", map(_event_row, _dirty(book)))
            many("DELETE FROM line WHERE id = ? AND phase = ?", list(debts.done))
            many("INSERT OR IGNORE INTO line VALUES (?, ?, ?, ?)", list(debts.lines))
            many("DELETE FROM raised WHERE id = ?", [(name,) for name in debts.delivered])
            many("INSERT OR IGNORE INTO raised VALUES (?, ?)", [(n, json.dumps(body)) for n, body in debts.raises])
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        for series in changed:
            series.saved()
        engine.gone.clear()
        engine.servers.gone.clear()
        engine.servers.dirty.clear()
        book.dirty.clear()

    def prune(self, engine: Engine, stored_before_ms: int, faint_before_ms: int) -> None:
        """Forget history that no lookback reaches, and events past their retention."""
        bounds = [(series.number, oldest_chunk(series)) for series in engine.series.values()]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("DELETE FROM chunk WHERE number = ? AND chunk < ?", bounds)
        self._connection.execute("DELETE FROM event WHERE open = 0 AND last_ms < ?", (stored_before_ms,))
        self._connection.execute(
            "DELETE FROM event WHERE open = 0 AND level < ? AND last_ms < ?", (STORED_LEVEL, faint_before_ms)
        )
        self._connection.execute("COMMIT")

    def forget_all_series(self) -> None:
        """Before a rebuild: series go, events stay. The place goes too, so that a crash in between rebuilds again."""
        self._connection.executescript(
            "BEGIN; DELETE FROM place; DELETE FROM series; DELETE FROM server; DELETE FROM chunk; COMMIT;"
        )

    def recent(self, since_ms: int, server: str | None, limit: int) -> tuple[list[Event], int]:
        """The stored events going on at or after a time, latest start first, and how many there are. From any thread."""
        where = "level >= ? AND (last_ms >= ? OR open = 1)"
        values: list[Any] = [STORED_LEVEL, since_ms]
        if server is not None:
            where += " AND server = ?"
            values.append(server)
        connection = open_readonly(self.path)
        try:
            total = int(connection.execute(f"SELECT count(*) FROM event WHERE {where}", values).fetchone()[0])  # noqa: S608 - constants
            query = f"SELECT record FROM event WHERE {where} ORDER BY start_ms DESC, id LIMIT ?"  # noqa: S608 - constants
            rows = connection.execute(query, [*values, limit]).fetchall()
        finally:
            connection.close()
        return [from_record(json.loads(row[0])) for row in rows], total

    def named(self, name: str, limit: int) -> list[Event]:
        """The events whose id begins or ends so, or the last part of it begins so, latest start first. `name`: letters, digits
        and `-` alone. From any thread.
        """
        query = "SELECT record FROM event WHERE id GLOB ? OR id GLOB ? OR id GLOB ? ORDER BY start_ms DESC, id LIMIT ?"
        connection = open_readonly(self.path)
        try:
            # An id is `anomaly-`, eight digits, `-`, and its own part.
            rows = connection.execute(query, [f"{name}*", f"anomaly-????????-{name}*", f"*{name}", limit]).fetchall()
        finally:
            connection.close()
        return [from_record(json.loads(row[0])) for row in rows]

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return open_database(self.path, _SCHEMA, VERSION)
        except UntrustedDatabase:
            set_aside(self.path)
            self.set_aside_total += 1
            return open_database(self.path, _SCHEMA, VERSION)

    def _load(self, engine: Engine, book: Book, since_ms: int) -> Position | None:
        execute = self._connection.execute
        for (record,) in execute("SELECT record FROM event WHERE open = 1 OR last_ms >= ?", (since_ms,)).fetchall():
            book.add(from_record(json.loads(record)), dirty=False)
        place = execute("SELECT epoch, seq FROM place").fetchone()
        if place is None:
            return None
        by_number = {}
        for number, server, tool, state in execute("SELECT number, server, tool, state FROM series"):
            series = decode_series(
                Series(str(server), str(tool)), int(number), bytes(state), engine.budget, engine.signals
            )
            by_number[series.number] = series
            engine.adopt(series)
        for name, state in execute("SELECT name, state FROM server"):
            engine.servers.adopt(str(name), decode_server(bytes(state)))
        for number, body in execute("SELECT number, body FROM chunk ORDER BY number, chunk"):
            if int(number) in by_number:
                decode_chunk(by_number[int(number)], bytes(body))
        for series in by_number.values():
            series.changed_chunks = 0
        return Position(str(place[0]), int(place[1]))


class StateDamaged(RuntimeError):
    """The database was not ours to read; it was set aside."""


def _dirty(book: Book) -> Iterator[Event]:
    return (book.events[name] for name in sorted(book.dirty) if name in book.events)


def _event_row(event: Event) -> tuple[str, str, int, int, int, int, str]:
    record = json.dumps(to_record(event))
    return event.id, event.server, event.start_ms, event.last_ms, event.level, int(event.end_ms is None), record


def _chunks(engine: Engine) -> Iterator[tuple[int, int, bytes]]:
    for series in (one for one in engine.series.values() if one.changed_chunks):
        for chunk in series.dirty_chunks:
            body = encode_chunk(series, chunk)
            if body is not None:
                yield series.number, chunk, body
