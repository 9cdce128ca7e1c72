"""SQLite files that hold state: opened the same safe way everywhere.

A commit is durable when it returns (WAL, synchronous=FULL). A database may have come with someone's clone, so its schema is
not trusted: anything that is not one of our tables is refused.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

#: How long a connection waits for another's lock.
BUSY_TIMEOUT_MS: Final = 5_000


class UntrustedDatabase(RuntimeError):
    """A file that is not a database of ours: other tables, triggers, views, a newer version, or not SQLite at all."""


def open_database(path: Path, schema: str, version: int) -> sqlite3.Connection:
    """A connection (for any thread, one at a time: guard it with a lock) in autocommit mode
    (write `BEGIN IMMEDIATE` … `COMMIT`) to a database with exactly the tables of
    `schema` (CREATE TABLE IF NOT EXISTS statements), created 0600 when it does not exist.

    Raises: UntrustedDatabase, sqlite3.Error.
    """
    _claim(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _configure(connection)
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > version:
            raise UntrustedDatabase(f"{path.name} is of version {found}, this program knows {version}")
        connection.executescript(schema)
        _check_schema(connection, schema, path)
        if found != version:
            connection.execute(f"PRAGMA user_version = {version:d}")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise UntrustedDatabase(f"{path.name}: {error}") from error
    except UntrustedDatabase:
        connection.close()
        raise
    return connection


def open_readonly(path: Path) -> sqlite3.Connection:
    """A read-only connection in autocommit mode; fetch all, then work: an open cursor makes the writer's log grow.

    Raises: sqlite3.Error.
    """
    connection = sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def set_aside(path: Path) -> Path:
    """Move an unusable database and its companions out of the way, next to it; the new name of it."""
    number = 1
    while (target := path.with_name(f"{path.name}.unusable-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(target.with_name(target.name + suffix))
    path.rename(target)
    return target


def _claim(path: Path) -> None:
    # Created by us with the right mode, never through a link.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.close(descriptor)


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _check_schema(connection: sqlite3.Connection, schema: str, path: Path) -> None:
    reference = sqlite3.connect(":memory:")
    try:
        reference.executescript(schema)
        query = "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
        wanted, found = (c.execute(query).fetchall() for c in (reference, connection))
    finally:
        reference.close()
    if wanted != found:
        raise UntrustedDatabase(f"{path.name} holds other tables, triggers or views than ours")


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path))
