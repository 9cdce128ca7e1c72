"""The aggregator's state behind `shared.consumer`: entries in, minutes saved with their place, files written after.

A file is written only from what was saved, and its mark goes only after the file is on disk: killed in between, it is written
again from the same rows. Rows are folded many at once, so a save or a query folds what still waits.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import numpy as np
import structlog

from perfmon.paths import DataDirectory
from perfmon.wire import OVERFLOW_NAME
from services.aggregator.core.block import EMPTY, LAST_TS, Block
from services.aggregator.core.cache import BlockCache, Limits, Watch
from services.aggregator.core.fold import LAST_MOMENT_MS, check, fold
from services.aggregator.core.memory import Memory, Snapshot
from services.aggregator.core.registry import Registry
from services.aggregator.core.schedule import Schedule
from services.aggregator.core.tiers import DAY, HOUR, MINUTE, Floors, Node, node_at
from services.aggregator.core.tree import Tree
from services.aggregator.shell.database import RollupDatabase
from services.aggregator.shell.files import AggregateFiles
from services.aggregator.shell.rebuild import Rebuild
from services.aggregator.shell.stored import Stored
from shared.batch import Batch, Series, concatenate
from shared.consumer import Entry, Position, StoreSnapshot

#: Rows that are folded at once; fewer wait for a save or a query, at most a second.
FOLD_ROWS: Final = 4_096
#: Unsaved blocks in memory before a save comes sooner.
UNSAVED_BYTES: Final = 256 * 2**20
#: Blocks that are remembered for queries.
CACHE: Final = Limits(asked=24 * 2**20, parts=12 * 2**20, long=32 * 2**20, ranges=8 * 2**20)
#: A stored series' last moment may lag the true one by this much; after a restart it is taken from the newest minutes.
LAST_TS_LAG_MS: Final = 60_000

#: Stands for the epoch when there are aggregates and nothing says up to where: it is no journal's, so a rebuild follows.
FILES_ALONE: Final = "files-alone"

_OVERFLOW: Final = Series(OVERFLOW_NAME, OVERFLOW_NAME)


class View(NamedTuple):
    """What a query works on after it let go of the lock. Close `watch` with the cache when done."""

    snapshot: Snapshot
    registry: Registry
    cache: BlockCache
    watch: Watch
    stored: Stored

    def tree(self) -> Tree:
        """The tree of time as of the snapshot."""
        return Tree(self.snapshot, self.cache, self.stored, self.watch)


class AggregatorState:
    """Implements `shared.consumer.ConsumerState`; everything but `__init__` runs with the consumer's lock held."""

    def __init__(
        self,
        data: DataDirectory,
        *,
        ask_for_cleanup: Callable[[str], None],
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self.data = data
        self.database = RollupDatabase(data.state / "aggregator.db")
        self.files = AggregateFiles(data)
        self.registry = Registry()
        self.schedule = Schedule()
        self.cache = BlockCache(CACHE)
        self.memory = Memory(Floors(), (), (), self.cache, self._base_of)
        self.overflowed_total = 0
        self.cleaned_ms = 0
        self.write_failures_total = 0
        self.written_now_ms = 0
        self._ask_for_cleanup = ask_for_cleanup
        self._on_ready = on_ready or _nothing
        self._pending: list[Batch] = []
        self._pending_rows = 0
        self._failure: Exception | None = None
        self._now_ms = 0
        self._log = structlog.get_logger()

    # --- the consumer's side --------------------------------------------------------------------------------------

    def load(self) -> Position | None:
        """Replace everything in memory by what is stored."""
        loaded = self.database.load()
        self._pending, self._pending_rows, self._failure = [], 0, None
        self.registry = loaded.registry
        self.overflowed_total, self.cleaned_ms = loaded.overflowed, loaded.cleaned_ms
        self.cache = BlockCache(CACHE)
        floors = loaded.floors or self._adopt()
        self.memory = Memory(
            floors, loaded.stale, loaded.held, self.cache, self._base_of, first_ms=self._first_ms(loaded.held)
        )
        self._hear_newest()
        if loaded.position is None and self.memory.first_ms < LAST_MOMENT_MS:
            # Files without the database they were made from: replaying the journal would count their calls twice.
            return Position(FILES_ALONE, 0)
        return loaded.position

    def apply(self, entry: Entry, now_ms: int, live: bool) -> bool:  # noqa: ARG002 - a late row counts for its own time
        """Take an entry's rows; they are folded soon. Raises: Unfoldable."""
        check(entry.batch)
        self._now_ms = now_ms
        self._pending.append(entry.batch)
        self._pending_rows += len(entry.batch)
        if self._pending_rows >= FOLD_ROWS:
            self.fold_pending()
            return self.memory.unsaved_bytes > UNSAVED_BYTES
        return False

    def save(self, position: Position) -> None:
        """Everything and the place in one transaction. Raises: sqlite3.Error."""
        self.fold_pending()
        if self._failure is not None:
            raise self._failure
        unsaved = self.memory.unsaved()
        series = list(self.registry.unsaved(LAST_TS_LAG_MS))
        try:
            self.database.save(
                position,
                unsaved.blocks,
                stale=unsaved.stale,
                series=series,
                floors=self.memory.floors,
                overflowed=self.overflowed_total,
            )
        except sqlite3.Error as error:
            if is_disk_full(error):
                self._ask_for_cleanup("disk full")
            raise
        self.registry.saved(series)
        self.memory.saved()

    def saved(self, now_ms: int) -> None:
        """Write the files that are due, from what is on disk now."""
        for node in self._due(now_ms):
            self._write_file(node, now_ms)

    def tick(self, now_ms: int) -> bool:
        """Whether files are due."""
        self._now_ms = now_ms
        return self._failure is not None or bool(self._due(now_ms))

    def caught_up(self, now_ms: int) -> None:  # noqa: ARG002 - the consumer's protocol
        """The head of the journal is reached; the first time, what long questions need is made ready."""
        ready, self._on_ready = self._on_ready, _nothing
        ready()

    def disk_full(self) -> None:
        """Ingest met a full disk."""
        self._ask_for_cleanup("disk full")

    def rebuild(self, store: StoreSnapshot, reason: str) -> None:
        """Fold the stored metrics anew; becomes durable with the save of this position."""
        self._pending, self._pending_rows = [], 0
        self.load()
        try:
            done = Rebuild(self.data, self.database, self.files, self.registry, self.memory).run(store.sizes)
        except BaseException:
            self.database.rollback()
            raise
        self.cache.clear()
        self.schedule = Schedule()
        self._log.info("refolded", reason=reason, seq=store.position.seq, **done._asdict())

    # --- the queries' side ----------------------------------------------------------------------------------------

    def fold_pending(self) -> None:
        """Fold what waits. Should that fail halfway, what is in memory is never saved: the next save ends the process."""
        if not self._pending or self._failure is not None:
            return
        try:
            self._fold_pending()
        except Exception as error:
            self._failure = error
            raise

    def _fold_pending(self) -> None:
        batch = concatenate(self._pending)
        ids = self.registry.ids_of(batch.dictionary)
        for minute_ms, block in fold(batch, ids):
            marks = self.memory.add(minute_ms, block)
            self.schedule.marked(marks, self._now_ms)
            self.registry.heard(block.series, block.high[LAST_TS])
        if _OVERFLOW in batch.dictionary:
            code = batch.dictionary.index(_OVERFLOW)
            self.overflowed_total += int(np.count_nonzero(batch.codes == code))
        self._pending, self._pending_rows = [], 0

    def view(self) -> View:
        """What a query needs, as of now."""
        self.fold_pending()
        watch = self.cache.watch()
        stored = Stored(self.database, self.files, self.registry, as_writer=False)
        return View(self.memory.snapshot(), self.registry, self.cache, watch, stored)

    # --- files ----------------------------------------------------------------------------------------------------

    def _due(self, now_ms: int) -> list[Node]:
        return self.schedule.due(self.memory.stale, now_ms, self.memory.has_unsaved)

    def _write_file(self, node: Node, now_ms: int) -> None:
        try:
            block = self.block(node)
            if len(block):
                self.files.write(node, block, self.registry)
            self.database.file_written(node)
        except (OSError, sqlite3.Error) as error:
            self.write_failures_total += 1
            self.schedule.failed(node, now_ms)
            self._log.error("aggregate_not_written", start_ms=node.start_ms, reason=str(error))
            if is_disk_full(error):
                self._ask_for_cleanup("disk full")
            return
        self.memory.written(node)
        self.schedule.written(node)
        self._log.info("aggregate_written", kind=node.source, start_ms=node.start_ms, series=len(block))

    def block(self, node: Node) -> Block:
        """The block of a node, read on the writer's connection."""
        stored = Stored(self.database, self.files, self.registry, as_writer=True)
        return Tree(self.memory.snapshot(), self.cache, stored).block(node)

    def _base_of(self, node: Node) -> Block:
        found = self.cache.get(node) if node.level == MINUTE else None
        if found is None:
            found = self.database.row(node, self.registry, as_writer=True)
        if found is None and node.level != MINUTE:
            found = self.files.read(node, self.registry)
        return EMPTY if found is None else found

    def _adopt(self) -> Floors:
        """The floors of a new database beside files that are already there: what has a file has no minutes (no hours)."""
        hours, days = self.files.nodes(HOUR), self.files.nodes(DAY)
        for node in (*days, *hours[-48:]):
            block = self.files.read(node, self.registry)
            if block is not None:
                self.registry.heard(block.series, block.high[LAST_TS])
        with_hours = {node_at(DAY, hour.start_ms).start_ms for hour in hours}
        hour_floor = max((day.end_ms for day in days if day.start_ms not in with_hours), default=0)
        return Floors(max((hour.end_ms for hour in hours), default=hour_floor), hour_floor, 0)

    def _first_ms(self, held: Iterable[Node]) -> int:
        """The first moment that anything is stored of."""
        firsts = [nodes[0].start_ms for level in (HOUR, DAY) if (nodes := self.files.nodes(level))]
        firsts += [node.start_ms for node in held]
        minute = self.database.first_minute_ms()
        return min([*firsts, *([] if minute is None else [minute])], default=LAST_MOMENT_MS)

    def _hear_newest(self) -> None:
        """The exact last moments, from the newest minutes; what is stored of a series may lag."""
        last = self.registry.last_ts()
        if last is None:
            return
        for start in self.database.minutes_between(last - 2 * LAST_TS_LAG_MS, last + 10 * LAST_TS_LAG_MS):
            block = self.database.row(Node(MINUTE, start), self.registry, as_writer=True)
            if block is not None:
                self.registry.heard(block.series, block.high[LAST_TS])


def is_disk_full(error: Exception) -> bool:
    """Whether an error means that no space is left."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def _nothing() -> None:
    """Nobody wants to know."""
