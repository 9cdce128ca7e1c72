"""Read committed entries in sequence order, across segments, while ingest goes on writing.

A reader fetches a bounded page and closes its cursor before anyone works on it. It never blocks the writer and never changes
a byte.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from shared.database import open_readonly
from shared.journal.segment import list_segments

#: Bytes of entries fetched at once, unless one entry is larger: it bounds the memory of catching up, however far behind.
PAGE_BYTES: Final = 8 * 1024 * 1024
#: Entries fetched at once, for what each takes besides its bytes.
PAGE_ENTRIES: Final = 4_096


class RawEntry(NamedTuple):
    """An entry as it lies in the journal: `body` is an encoded batch."""

    seq: int
    committed_ms: int
    body: bytes


class LostPlace(RuntimeError):
    """The entry after `after` is gone; the oldest there is starts at `oldest` (None: the journal is empty)."""

    def __init__(self, after: int, oldest: int | None) -> None:
        super().__init__(f"entry {after + 1} is no longer in the journal (oldest: {oldest})")
        self.after = after
        self.oldest = oldest


class JournalReader:
    """Pages of entries after a sequence. Keeps the connection to the segment it last read."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._opened: tuple[Path, int, int] | None = None
        self._connection: sqlite3.Connection | None = None

    def epoch(self) -> str | None:
        """The journal's epoch; None when there is no readable segment."""
        return self._meta("epoch")

    def began_empty(self) -> bool:
        """Whether the store was empty when this epoch began, so that the journal from 1 on tells everything."""
        return self._meta("origin") == "empty"

    def head(self) -> int | None:
        """The last sequence there is; None when there is no segment.

        Raises: sqlite3.Error.
        """
        segments = list_segments(self._journal)
        if not segments:
            return None
        row = self._open(segments[-1].path).execute("SELECT max(seq) FROM entries").fetchone()
        return segments[-1].first_seq - 1 if row[0] is None else int(row[0])

    def page(self, after: int) -> list[RawEntry]:
        """The next entries after sequence `after`, at least one unless there is none; in order, without gaps.

        Raises: LostPlace when the next entry has been dropped, sqlite3.Error.
        """
        try:
            return self._page(after)
        except UnicodeDecodeError as error:  # SQLite names what it does not understand of a damaged schema
            raise sqlite3.DatabaseError("the schema is damaged") from error

    def _page(self, after: int) -> list[RawEntry]:
        segments = list_segments(self._journal)
        holding = [info for info in segments if info.first_seq <= after + 1]
        if not holding:
            if segments:
                raise LostPlace(after, segments[0].first_seq)
            return []
        index = len(holding) - 1
        while index < len(segments):
            found = self._fetch(segments[index].path, after)
            if found:
                if found[0].seq != after + 1:
                    raise LostPlace(after, found[0].seq)
                return found
            index += 1
        return []

    def close(self) -> None:
        """Let go of the segment; idempotent."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._opened = None

    def _meta(self, key: str) -> str | None:
        for info in reversed(list_segments(self._journal)):
            try:
                row = self._open(info.path).execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            except (sqlite3.Error, UnicodeDecodeError):
                self.close()
                continue
            if row:
                return str(row[0])
        return None

    def _fetch(self, path: Path, after: int) -> list[RawEntry]:
        query = "SELECT seq, committed_ms, CAST(body AS BLOB) FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"
        sizes = "SELECT length(body) FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"
        connection = self._open(path)
        total, count = 0, 0
        for (size,) in connection.execute(sizes, (after, PAGE_ENTRIES)).fetchall():
            total += size
            if count and total > PAGE_BYTES:
                break
            count += 1
        return [RawEntry(*row) for row in connection.execute(query, (after, count)).fetchall()]

    def _open(self, path: Path) -> sqlite3.Connection:
        # A new journal has segments of the same names: what is open may be a file that is gone.
        try:
            there = path.stat()
        except OSError as error:
            raise sqlite3.OperationalError(f"{path.name}: {error.strerror}") from error
        wanted = (path, there.st_dev, there.st_ino)
        if self._connection is None or self._opened != wanted:
            self.close()
            self._connection = open_readonly(path)
            self._opened = wanted
        return self._connection
