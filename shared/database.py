"""SQLite files that hold state: opened the same safe way everywhere.

A commit is durable when it returns (WAL, synchronous=FULL). A database may have come with someone's clone, so its schema is
not trusted: anything that is not one of our tables is refused.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any, Final

#: How long a connection waits for another's lock.
BUSY_TIMEOUT_MS: Final = 5_000

#: SQLite's own page size, and how far its log grows before it is written into the file.
PAGE_BYTES: Final = 4_096
WAL_BYTES: Final = 4 * 1024 * 1024

#: What SQLite keeps next to a database. It follows links there, so a planted one would lead its writes away.
_COMPANIONS: Final = ("-wal", "-shm", "-journal")
#: Where the header says which format writes and reads the file (https://sqlite.org/fileformat2.html), and the newest one.
_VERSIONS_OFFSET: Final = 18
_WAL_VERSION: Final = 2
#: The header: the size of a page is at 16, the number of pages at 28.
_HEADER_BYTES: Final = 100
#: Failures that say nothing about the file: the disk is full, somebody holds a lock, no descriptors are left.
_OF_THE_MOMENT: Final = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
#: Errors of the moment by their main code, of the file by what they add: it is shorter than it says, or its file system knows.
_OF_THE_FILE: Final = {sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}


class UntrustedDatabase(RuntimeError):
    """A file that is not a database of ours: other tables, triggers, views, a newer version, a link, damaged, or not SQLite."""


def open_database(path: Path, schema: str, version: int, *, page_bytes: int = PAGE_BYTES) -> sqlite3.Connection:
    """A connection (for any thread, one at a time: guard it with a lock) in autocommit mode
    (write `BEGIN IMMEDIATE` … `COMMIT`) to a database with exactly the tables of
    `schema` (CREATE TABLE IF NOT EXISTS statements), created 0600, with pages of `page_bytes`, when it does not exist.

    Raises: UntrustedDatabase (set it aside), sqlite3.Error or OSError (nothing is wrong with the file: try again later).
    """
    _claim(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _configure(connection, page_bytes)
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > version:
            raise UntrustedDatabase(f"{path.name} is of version {found}, this program knows {version}")
        connection.executescript(schema)
        _check_schema(connection, schema, path)
        if found != version:
            connection.execute(f"PRAGMA user_version = {version:d}")
    except sqlite3.DatabaseError as error:
        connection.close()
        if is_damage(error):
            raise UntrustedDatabase(f"{path.name}: {error}") from error
        raise
    except UnicodeDecodeError as error:  # SQLite names what it does not understand of a damaged schema
        connection.close()
        raise UntrustedDatabase(f"{path.name}: its schema is damaged") from error
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


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error speaks of the file (damaged, not ours) and not of the moment (disk full, locked)."""
    code = getattr(error, "sqlite_errorcode", None)
    of_the_file = code is None or code & 0xFF not in _OF_THE_MOMENT or code in _OF_THE_FILE
    return isinstance(error, sqlite3.DatabaseError) and of_the_file


def is_full(error: BaseException | None) -> bool:
    """Whether an error of SQLite or of a file means that there is no space left."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def set_aside(path: Path) -> Path:
    """Move an unusable database and its companions, as far as they exist, out of the way; the new name of it."""
    number = 1
    while os.path.lexists(target := path.with_name(f"{path.name}.unusable-{number}")):
        number += 1
    for suffix in (*_COMPANIONS, ""):
        part = path.with_name(path.name + suffix)
        if os.path.lexists(part):
            part.rename(target.with_name(target.name + suffix))
    return target


def _claim(path: Path) -> None:
    # Created by us with the right mode, never through a link, nor with companions that are links.
    for suffix in _COMPANIONS:
        if path.with_name(path.name + suffix).is_symlink():
            raise UntrustedDatabase(f"{path.name}{suffix} is a link")
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise UntrustedDatabase(f"{path.name} is not a file")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    versions = os.pread(descriptor, 2, _VERSIONS_OFFSET)
    short = _is_cut(path, descriptor)
    os.close(descriptor)
    if short:
        raise UntrustedDatabase(f"{path.name} is shorter than it says")
    if any(version > _WAL_VERSION for version in versions):
        # SQLite would take it for one of its future formats, which it only reads.
        raise UntrustedDatabase(f"{path.name} has a damaged header")


def _is_cut(path: Path, descriptor: int) -> bool:
    """Whether the end of a database is gone, which SQLite would read as zeros: rows would be others. What its log still has to
    bring may make it longer, so this is told only without one.
    """
    log = path.with_name(f"{path.name}-wal")
    header = os.pread(descriptor, _HEADER_BYTES, 0)
    if len(header) < _HEADER_BYTES or (log.exists() and log.stat().st_size):
        return False
    page_bytes = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big")
    return os.fstat(descriptor).st_size < pages * (65_536 if page_bytes == 1 else page_bytes)


def _configure(connection: sqlite3.Connection, page_bytes: int) -> None:
    # Of a file that exists it changes nothing.
    connection.execute(f"PRAGMA page_size = {page_bytes:d}")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES // page_bytes:d}")


def _check_schema(connection: sqlite3.Connection, schema: str, path: Path) -> None:
    reference = sqlite3.connect(":memory:")
    try:
        reference.executescript(schema)
        wanted, found = _shape(reference), _shape(connection)
    finally:
        reference.close()
    if wanted != found:
        raise UntrustedDatabase(f"{path.name} holds other tables, triggers or views than ours")


def _shape(connection: sqlite3.Connection) -> list[Any]:
    # What there is, and every column of every table, generated ones too.
    query = "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
    columns = 'SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid'
    return [(kind, name, connection.execute(columns, (name,)).fetchall()) for kind, name in connection.execute(query)]


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path))
