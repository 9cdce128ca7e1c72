"""state/aggregator.db: minute rollups, held hours and days, marks, names and the place in the journal.

A save is one transaction (WAL, synchronous=FULL): after kill -9 the rollups are those of exactly the entries up to the place. One
connection writes (hold the consumer's lock), each thread that queries has its own that reads. The file may have come with
someone's clone: rows that are no blocks are counted and passed over.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from services.aggregator.core.blob import BadBlob, decode_block, encode_block
from services.aggregator.core.block import Block
from services.aggregator.core.fold import LAST_MOMENT_MS
from services.aggregator.core.registry import KnownSeries, Registry
from services.aggregator.core.tiers import DAY, HOUR, MINUTE, Floors, Node, node_at
from shared.consumer import Position
from shared.database import UntrustedDatabase, open_database, open_readonly, set_aside

VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, server TEXT NOT NULL, tool TEXT NOT NULL, last_ts INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS minutes (start_ms INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS hours (start_ms INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS days (start_ms INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS stale (level INTEGER NOT NULL, start_ms INTEGER NOT NULL, PRIMARY KEY (level, start_ms));
"""

_TABLES: Final = {MINUTE: "minutes", HOUR: "hours", DAY: "days"}


class Loaded(NamedTuple):
    """What the database knows at a start; `floors` is None in a new one."""

    position: Position | None
    floors: Floors | None
    registry: Registry
    stale: set[Node]
    held: set[Node]
    overflowed: int
    cleaned_ms: int


class RollupDatabase:
    """The writer's connection, and readers for other threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = structlog.get_logger()
        self._local = threading.local()
        self._batch = False
        self.bad_rows_total = 0
        try:
            self._writer = open_database(path, SCHEMA, VERSION)
        except UntrustedDatabase as error:
            self._log.error("database_set_aside", reason=str(error), kept_as=set_aside(path).name)
            self._writer = open_database(path, SCHEMA, VERSION)

    def close(self) -> None:
        """Let go of the file."""
        self._writer.close()

    def load(self) -> Loaded:
        """Everything but the blocks. A database whose contents make no sense is set aside, and a new one begun."""
        self.rollback()
        try:
            return self._load()
        except (ValueError, TypeError, KeyError) as error:
            self._writer.close()
            self._log.error("database_set_aside", reason=str(error), kept_as=set_aside(self._path).name)
            self._writer = open_database(self._path, SCHEMA, VERSION)
            return self._load()

    def _load(self) -> Loaded:
        meta = dict(self._writer.execute("SELECT key, value FROM meta").fetchall())
        series = self._writer.execute("SELECT id, server, tool, last_ts FROM series ORDER BY id").fetchall()
        marks = self._writer.execute("SELECT level, start_ms FROM stale").fetchall()
        held = {
            _checked_node(level, start)
            for level in (HOUR, DAY)
            for (start,) in self._writer.execute(f"SELECT start_ms FROM {_TABLES[level]}").fetchall()  # noqa: S608 - constants
        }
        return Loaded(
            Position(meta["epoch"], int(meta["seq"])) if "epoch" in meta else None,
            _floors(meta.get("floors")),
            Registry(_checked_series(row) for row in series),
            {_checked_node(HOUR if level == 0 else DAY, start) for level, start in marks},
            held,
            int(meta.get("overflowed", 0)),
            int(meta.get("cleaned_ms", 0)),
        )

    # --- reading --------------------------------------------------------------------------------------------------

    def row(self, node: Node, registry: Registry, *, as_writer: bool = False) -> Block | None:
        """The stored block of a minute, or of a held hour or day. From another thread than the writer's unless told."""
        query = f"SELECT body FROM {_TABLES[node.level]} WHERE start_ms = ?"  # noqa: S608 - constants
        connection = self._writer if as_writer else self._reader()
        found = connection.execute(query, (node.start_ms,)).fetchone()
        if found is None:
            return None
        try:
            return decode_block(found[0], len(registry))
        except (BadBlob, TypeError) as error:
            self.bad_rows_total += 1
            self._log.error(
                "stored_block_unreadable", table=_TABLES[node.level], start_ms=node.start_ms, reason=str(error)
            )
            return None

    def first_minute_ms(self) -> int | None:
        """The oldest minute there is."""
        found = self._writer.execute("SELECT min(start_ms) FROM minutes").fetchone()[0]
        return None if found is None else int(found)

    def has_minutes(self, node: Node, *, as_writer: bool = False) -> bool:
        """Whether any minute of a span has a row."""
        query = "SELECT EXISTS (SELECT 1 FROM minutes WHERE start_ms >= ? AND start_ms < ?)"
        connection = self._writer if as_writer else self._reader()
        return bool(connection.execute(query, (node.start_ms, node.end_ms)).fetchone()[0])

    def minutes_between(self, start_ms: int, end_ms: int) -> list[int]:
        """The minutes of a range that have a row."""
        query = "SELECT start_ms FROM minutes WHERE start_ms >= ? AND start_ms < ? ORDER BY start_ms"
        return [start for (start,) in self._writer.execute(query, (start_ms, end_ms)).fetchall()]

    # --- writing (hold the consumer's lock) -----------------------------------------------------------------------

    def begin(self) -> None:
        """Open a transaction that spans several writes, up to the next `save`, or to `rollback`."""
        if not self._batch:
            self._writer.execute("BEGIN IMMEDIATE")
            self._batch = True

    def rollback(self) -> None:
        """Undo what was written since `begin`; nothing otherwise."""
        self._batch = False
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def save(
        self,
        position: Position,
        blocks: dict[Node, Block],
        *,
        stale: Iterable[Node],
        series: Iterable[KnownSeries],
        floors: Floors,
        overflowed: int,
    ) -> None:
        """State and place in one transaction, durable when this returns.

        Raises: sqlite3.Error, after which nothing of it is stored.
        """
        with self._transaction():
            self.put_blocks(blocks)
            self._writer.executemany(
                "INSERT OR REPLACE INTO series (id, server, tool, last_ts) VALUES (?, ?, ?, ?)", list(series)
            )
            self._writer.executemany("INSERT OR IGNORE INTO stale VALUES (?, ?)", [_mark(node) for node in stale])
            self._put_meta(
                epoch=position.epoch,
                seq=str(position.seq),
                floors=",".join(str(floor) for floor in floors),
                overflowed=str(overflowed),
            )
        self._commit()

    def put_blocks(self, blocks: dict[Node, Block]) -> None:
        """Replace the rows of some nodes."""
        for node, block in blocks.items():
            self._writer.execute(
                f"INSERT OR REPLACE INTO {_TABLES[node.level]} VALUES (?, ?)",  # noqa: S608 - constants
                (node.start_ms, encode_block(block)),
            )

    def file_written(self, node: Node) -> None:
        """The file of an hour or day is on disk: its mark goes, and its row if it was held."""
        with self._transaction():
            self._writer.execute("DELETE FROM stale WHERE level = ? AND start_ms = ?", _mark(node))
            self._writer.execute(f"DELETE FROM {_TABLES[node.level]} WHERE start_ms = ?", (node.start_ms,))  # noqa: S608 - constants

    def forget_minutes(self, start_ms: int, end_ms: int) -> int:
        """Remove the minutes of a range; how many there were."""
        with self._transaction():
            query = "DELETE FROM minutes WHERE start_ms >= ? AND start_ms < ?"
            return self._writer.execute(query, (start_ms, end_ms)).rowcount

    def forget_held(self, start_ms: int, end_ms: int) -> None:
        """Remove held hours, days and marks that begin in a range."""
        with self._transaction():
            for table in ("hours", "days", "stale"):
                self._writer.execute(
                    f"DELETE FROM {table} WHERE start_ms >= ? AND start_ms < ?",  # noqa: S608 - constants
                    (start_ms, end_ms),
                )

    def keep_floors(self, floors: Floors) -> None:
        """Remember from when on each level is complete."""
        with self._transaction():
            self._put_meta(floors=",".join(str(floor) for floor in floors))

    def keep_cleaned(self, at_ms: int, clock: str) -> None:
        """Remember when the last clean-up ended, and the moment that its clock was trusted by."""
        with self._transaction():
            self._put_meta(cleaned_ms=str(at_ms), clock=clock)

    def clock(self) -> str | None:
        """What was kept of the clock."""
        found = self._writer.execute("SELECT value FROM meta WHERE key = 'clock'").fetchone()
        return None if found is None else str(found[0])

    def _put_meta(self, **values: str) -> None:
        self._writer.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction; within `begin` it is that one, which only `save` ends."""
        if not self._batch:
            self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.rollback()
            raise
        if not self._batch:
            self._writer.execute("COMMIT")

    def _commit(self) -> None:
        if self._batch:
            self._batch = False
            self._writer.execute("COMMIT")

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_readonly(self._path)
        return connection


def _checked_node(level: int, start_ms: int) -> Node:
    node = node_at(level, start_ms)
    if node.start_ms != start_ms or not 0 <= start_ms < LAST_MOMENT_MS:
        raise ValueError("a mark or a row of no hour or day")
    return node


def _checked_series(row: tuple[int, str, str, int]) -> KnownSeries:
    found = KnownSeries(*row)
    if not (isinstance(found.server, str) and isinstance(found.tool, str)) or not 0 <= found.last_ts < LAST_MOMENT_MS:
        raise ValueError("a series without names or with a time of no year")
    return found


def _mark(node: Node) -> tuple[int, int]:
    return (0 if node.level == HOUR else 1, node.start_ms)


def _floors(text: str | None) -> Floors | None:
    if text is None:
        return None
    minute, hour, day = (int(part) for part in text.split(","))
    return Floors(minute, hour, day)
