"""One segment of the journal: a SQLite file named by its first sequence.

Owns the tables. Each segment carries everything a recovery needs besides its entries: the producers' last sequences, the
registered JSONL files and the checkpoint are copied into a new segment in its first transaction, so that dropping old
segments is unlinking files.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final, NamedTuple

VERSION: Final = 1
#: Entries of hundreds of kilobytes cost a third less in pages of this size than in SQLite's own. Larger ones would save little
#: more, and a single metric rewrites two pages.
PAGE_BYTES: Final = 16 * 1024

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (seq INTEGER PRIMARY KEY, committed_ms INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS producers (
    producer TEXT PRIMARY KEY, seq INTEGER NOT NULL, seen BLOB NOT NULL, at_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, lines INTEGER NOT NULL, first_ms INTEGER, last_ms INTEGER,
    server TEXT NOT NULL, tool TEXT NOT NULL
) WITHOUT ROWID;
"""

_NAME = re.compile(r"segment-(\d{16})\.db")


class SegmentInfo(NamedTuple):
    """A segment file: the sequence it starts at, its path, its bytes on disk with the write-ahead log."""

    first_seq: int
    path: Path
    size_bytes: int


def segment_path(journal: Path, first_seq: int) -> Path:
    """Where the segment that starts at `first_seq` lies."""
    return journal / f"segment-{first_seq:016d}.db"


def list_segments(journal: Path) -> list[SegmentInfo]:
    """The segments of a journal directory, oldest first."""
    found = []
    for path in journal.iterdir() if journal.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match and path.is_file() and not path.is_symlink():
            found.append(SegmentInfo(int(match.group(1)), path, _size(path)))
    return sorted(found)


def unlink_segment(path: Path) -> None:
    """Remove a segment and its companions."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def renew_segment(path: Path) -> None:
    """Put copies in the place of a segment and its log. Consumers keep the index of a log that was cut since, in which SQLite
    would go on looking for what is gone; the copies get an index of their own.

    Raises: OSError; the segment is then as it was.
    """
    for suffix in ("", "-wal"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            copy = part.with_name(f".{part.name}.renewed")
            shutil.copyfile(part, copy, follow_symlinks=False)
            copy.chmod(0o600)
            copy.replace(part)
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


def _size(path: Path) -> int:
    total = 0
    for suffix in ("", "-wal"):
        try:
            total += path.with_name(path.name + suffix).stat().st_size
        except FileNotFoundError:
            continue
    return total
