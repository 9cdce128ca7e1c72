"""The journal's one writer: commits batches, and whatever a recovery needs, in one durable transaction.

What `commit` returned for is on disk: it survives kill -9 and power loss (SQLite, WAL, synchronous=FULL). Sequences never
restart within an epoch; a journal that is missing or unreadable starts a new epoch, which every consumer notices.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from shared.database import UntrustedDatabase, is_damage, open_database, set_aside
from shared.journal.producers import kept
from shared.journal.segment import (
    PAGE_BYTES,
    SCHEMA,
    VERSION,
    SegmentInfo,
    list_segments,
    renew_segment,
    segment_path,
    unlink_segment,
)
from shared.journal.witness import Witness
from shared.store.atomic import sync_directory

#: A head beyond this is no head of ours: a million entries a second reach it in 100,000 years.
_MAX_SEQ: Final = 2**62

#: Key of a forgotten day in `meta`; the value is the journal's head then.
_FORGOTTEN: Final = "forgotten:"

#: A new journal's first segment until the old journal is out of the way.
PREPARED: Final = "prepared.db"


class ProducerPlace(NamedTuple):
    """What is stored of a producer: its highest sequence, the bitmap of those just below it, when it last wrote."""

    producer: str
    seq: int
    seen: bytes
    at_ms: int


class RegisteredFile(NamedTuple):
    """A JSONL file of the view as of the checkpoint: bytes, lines, first and last timestamp, the true names."""

    path: str
    size: int
    lines: int
    first_ms: int | None
    last_ms: int | None
    server: str
    tool: str


class JournalWriter:
    """Commits to the newest segment. Hold the ingest lock while one exists.

    `store_empty` tells a new journal whether it began with an empty store, so that it alone tells everything.
    """

    def __init__(self, journal: Path, *, segment_bytes: int, store_empty: bool) -> None:
        self.directory = journal
        self._store_empty = store_empty
        self._segment_bytes = segment_bytes
        self._log = structlog.get_logger()
        self.epoch = ""
        self.head = 0
        self.checkpoint_seq = 0
        #: True until `adopt`: the journal was started just now, and the view must take stock anew.
        self.fresh = False
        self._witness = Witness(journal)
        self._written = 0
        self._db = self._open_newest()

    @property
    def distrusted(self) -> str | None:
        """Why the journal must be given up although it opens: it lacks entries that were committed, or was found damaged."""
        if self._witness.epoch != self.epoch:
            return None
        lost = self._witness.lost(self.epoch, self.head)
        if lost:
            return f"{lost} committed entries after {self.head} are gone"
        return "it was found damaged" if self._witness.damaged else None

    @property
    def oldest(self) -> int:
        """The first sequence of the oldest segment."""
        segments = list_segments(self.directory)
        return segments[0].first_seq if segments else self.head + 1

    def size_bytes(self) -> int:
        """Bytes of all segments on disk."""
        return sum(info.size_bytes for info in list_segments(self.directory))

    def producers(self) -> list[ProducerPlace]:
        """All remembered producers."""
        rows = self._db.execute("SELECT producer, seq, seen, at_ms FROM producers").fetchall()
        return [ProducerPlace(*row) for row in rows]

    def files(self) -> list[RegisteredFile]:
        """The registered files, as of the checkpoint; those registered since have size 0 or what was found."""
        query = "SELECT path, size, lines, first_ms, last_ms, server, tool FROM files"
        return [RegisteredFile(*row) for row in self._db.execute(query).fetchall()]

    def commit(
        self,
        bodies: Iterable[bytes],
        committed_ms: int,
        *,
        producers: Iterable[ProducerPlace] = (),
        new_files: Iterable[RegisteredFile] = (),
    ) -> int:
        """Commit encoded batches durably, all or none; the sequence of the last one.

        Raises: sqlite3.Error (disk full, I/O error): nothing of it was stored. If it speaks of damage, the next start gives the
        journal up: end the process.
        """
        head, size = self.head, 0
        with self._watched(), _Transaction(self._db):
            for body in bodies:
                head += 1
                size += len(body)
                self._db.execute("INSERT INTO entries VALUES (?, ?, ?)", (head, committed_ms, body))
            self._db.executemany("INSERT OR REPLACE INTO producers VALUES (?, ?, ?, ?)", producers)
            self._db.executemany("INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", new_files)
        self.head = head
        self._witness.note(self.epoch, head)
        self._written += size
        return head

    def checkpoint(self, seq: int, files: Iterable[RegisteredFile]) -> None:
        """Remember durably that the view holds everything up to `seq` in files of these sizes, which are synced.

        Raises: sqlite3.Error.
        """
        with _Transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", files)
            self._set_meta("checkpoint_seq", str(seq))
            self._db.execute(
                "DELETE FROM meta WHERE key GLOB ? AND CAST(value AS INTEGER) <= ?", (f"{_FORGOTTEN}*", seq)
            )
        self.checkpoint_seq = seq

    def adopt(self, files: Iterable[RegisteredFile]) -> None:
        """Register what a new journal found in the store; until then it is `fresh`, across restarts too.

        Raises: sqlite3.Error.
        """
        with _Transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", files)
            self._set_meta("adopted", "yes")
        self.fresh = False

    def forget(self, paths: Iterable[str]) -> None:
        """Forget registered files.

        Raises: sqlite3.Error.
        """
        with _Transaction(self._db):
            self._db.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in paths])

    def forget_day(self, day: str) -> None:
        """Forget a day's registered files, before they are unlinked, and what entries up to now hold of it, so that no
        replay brings it back.

        Raises: sqlite3.Error.
        """
        with _Transaction(self._db):
            self._db.execute("DELETE FROM files WHERE path GLOB ?", (f"{day}/*",))
            self._set_meta(f"{_FORGOTTEN}{day}", str(self.head))

    def forgotten_days(self) -> dict[str, int]:
        """Days that were forgotten since the checkpoint, each with the last entry whose rows of it are gone.

        Raises: sqlite3.Error.
        """
        rows = self._db.execute("SELECT key, value FROM meta WHERE key GLOB ?", (f"{_FORGOTTEN}*",)).fetchall()
        found = {str(key).removeprefix(_FORGOTTEN): int(value) for key, value in rows}
        return {day: seq for day, seq in found.items() if seq > self.checkpoint_seq}

    def rotate_if_full(self) -> bool:
        """Start a new segment once this one is full; whether it did.

        Raises: sqlite3.Error, OSError: this segment goes on.
        """
        if self._written < self._segment_bytes:
            return False
        self._db = self._successor()
        self._written = 0
        return True

    def drop_before(self, seq: int) -> int:
        """Unlink the segments all of whose entries are below `seq`; how many went."""
        segments = list_segments(self.directory)
        dropped = 0
        for info, following in pairwise(segments):
            if following.first_seq > seq:
                break
            unlink_segment(info.path)
            dropped += 1
        return dropped

    def segments(self) -> list[SegmentInfo]:
        """The segments, oldest first."""
        return list_segments(self.directory)

    def start_over(self, reason: str, producers: Iterable[ProducerPlace] = ()) -> None:
        """Set everything aside and begin a new epoch that knows these producers: the journal cannot be read.

        Raises: sqlite3.Error, OSError.
        """
        self._log.error("journal_set_aside", epoch=self.epoch, reason=reason)
        known = list(producers)
        self._db.close()
        self._db = self._begin_anew(known)

    def close(self) -> None:
        """Close the newest segment."""
        self._db.close()
        self._witness.close()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if is_damage(error):
                self._witness.note(self.epoch, self.head, damaged=True)
            raise

    def _open_newest(self) -> sqlite3.Connection:
        for info in reversed(list_segments(self.directory)):
            try:
                db = self._open_segment(info)
            except (UntrustedDatabase, sqlite3.DatabaseError, ValueError, TypeError, KeyError) as error:
                if isinstance(error, sqlite3.Error) and not is_damage(error):
                    raise  # the disk is full, or the like: nothing is wrong with the journal
                self._log.error("segment_unreadable", segment=info.path.name, reason=str(error))
                return self._begin_anew()
            if db is not None:
                return db
            # A rotation or a beginning that was killed before its first transaction: what is before it is whole.
            unlink_segment(info.path)
        return self._begin_anew()

    def _open_segment(self, info: SegmentInfo) -> sqlite3.Connection | None:
        try:
            return self._try_segment(info)
        except (UntrustedDatabase, sqlite3.DatabaseError) as error:
            if not _is_shorter_than_known(error):
                raise
            self._log.error("journal_log_cut", segment=info.path.name)
            renew_segment(info.path)
            return self._try_segment(info)

    def _try_segment(self, info: SegmentInfo) -> sqlite3.Connection | None:
        db = open_database(info.path, SCHEMA, VERSION, page_bytes=PAGE_BYTES)
        try:
            if self._take_over(db, info):
                return db
        except BaseException:
            db.close()
            raise
        db.close()
        return None

    def _take_over(self, db: sqlite3.Connection, info: SegmentInfo) -> bool:
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        if "epoch" not in meta:
            return False
        last = db.execute("SELECT max(seq) FROM entries").fetchone()[0]
        head, checkpoint_seq = info.first_seq - 1 if last is None else int(last), int(meta["checkpoint_seq"])
        if not 0 <= checkpoint_seq <= head < _MAX_SEQ:
            raise ValueError(f"checkpoint {checkpoint_seq} and head {head} do not fit")
        self.epoch, self.head, self.checkpoint_seq = str(meta["epoch"]), head, checkpoint_seq
        self.fresh = meta.get("adopted") == "no"
        self._written = info.size_bytes
        return True

    def _begin_anew(self, producers: Iterable[ProducerPlace] = ()) -> sqlite3.Connection:
        if self._witness.head:
            self._log.error("journal_lost", epoch=self._witness.epoch, head=self._witness.head)
        epoch = secrets.token_hex(8)
        # Whole before the old one goes: killed in between, the next start finds in it the producers that it knew.
        prepared = self.directory / PREPARED
        with closing(_own_database(prepared)) as db, _Transaction(db):
            origin = "empty" if self._store_empty else "existing"
            values = [("epoch", epoch), ("checkpoint_seq", "0"), ("origin", origin), ("adopted", "no")]
            db.execute("DELETE FROM meta")
            db.executemany("INSERT INTO meta VALUES (?, ?)", values)
            db.executemany("INSERT OR REPLACE INTO producers VALUES (?, ?, ?, ?)", producers)
        for info in list_segments(self.directory):
            set_aside(info.path)
        path = segment_path(self.directory, 1)
        set_aside(path)  # whatever else stands in its place, or in that of its companions: a link, a folder
        for suffix in ("-wal", ""):
            part = prepared.with_name(prepared.name + suffix)
            if part.exists():
                part.rename(path.with_name(path.name + suffix))
        sync_directory(self.directory)
        self.epoch, self.head, self.checkpoint_seq, self.fresh, self._written = epoch, 0, 0, True, 0
        self._witness.note(epoch, 0)
        return open_database(path, SCHEMA, VERSION, page_bytes=PAGE_BYTES)

    def _successor(self) -> sqlite3.Connection:
        path = segment_path(self.directory, self.head + 1)
        unlink_segment(path)
        db = open_database(path, SCHEMA, VERSION, page_bytes=PAGE_BYTES)
        try:
            with _Transaction(db):
                for table in ("meta", "files"):
                    rows = self._db.execute(f"SELECT * FROM {table}")  # noqa: S608 - our own tables
                    marks = ", ".join("?" * len(rows.description))
                    db.executemany(f"INSERT INTO {table} VALUES ({marks})", rows.fetchall())  # noqa: S608 - our own tables
                db.executemany("INSERT INTO producers VALUES (?, ?, ?, ?)", kept(self._db))
            sync_directory(self.directory)
        except BaseException:
            db.close()
            unlink_segment(path)
            raise
        self._db.close()
        return db

    def _set_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _is_shorter_than_known(error: BaseException | None) -> bool:
    found = error.__cause__ if isinstance(error, UntrustedDatabase) else error
    return getattr(found, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_SHORT_READ


def _own_database(path: Path) -> sqlite3.Connection:
    """A database that nothing else may stand in the place of."""
    try:
        return open_database(path, SCHEMA, VERSION, page_bytes=PAGE_BYTES)
    except UntrustedDatabase:
        set_aside(path)
        return open_database(path, SCHEMA, VERSION, page_bytes=PAGE_BYTES)


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, rolled back when anything is raised."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error:
                self._rollback()
                raise
        else:
            self._rollback()

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
