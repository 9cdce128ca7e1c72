"""Fold the stored metrics anew, when the place in the journal was lost or the journal is a new one.

The days that have JSONL files are folded from them, up to the sizes that belong to the consumer's new position; older minutes,
hours and days stay as they are. All of it is one transaction that the save of that position ends: killed before, nothing has
changed. A file of aggregates that says much more than what is left of its metrics was made before some of them went: it stays,
and minutes begin after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from perfmon.paths import DataDirectory
from services.aggregator.core.block import COUNT, LAST_TS
from services.aggregator.core.fold import fold, sound_rows
from services.aggregator.core.memory import Memory
from services.aggregator.core.registry import Registry
from services.aggregator.core.tiers import DAY, HOUR, Node, parts_at
from services.aggregator.core.tree import Tree
from services.aggregator.shell.database import RollupDatabase
from services.aggregator.shell.files import AggregateFiles
from services.aggregator.shell.stored import Stored
from shared.store.raw import read_batches
from shared.timespan import DAY_MS, HOUR_MS, BadTime, day_start

#: Blocks in memory before they are put into the transaction.
SPILL_BYTES: Final = 128 * 2**20
#: A file stays when its metrics now count less than this part of its calls.
POORER: Final = 0.5

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


class Done(NamedTuple):
    """What a rebuild did."""

    days: int
    calls: int
    unparsable_lines: int
    hours_kept: int


class Rebuild:
    """One rebuild. `memory` comes freshly loaded and is left with its last blocks unsaved."""

    def __init__(
        self,
        data: DataDirectory,
        database: RollupDatabase,
        files: AggregateFiles,
        registry: Registry,
        memory: Memory,
    ) -> None:
        self._data = data
        self._database = database
        self._files = files
        self._registry = registry
        self._memory = memory
        self._calls_by_hour: dict[int, int] = {}
        self._unparsable = 0

    def run(self, sizes: Mapping[str, int]) -> Done:
        """Fold the files (path below `metrics/` → bytes). Raises: OSError, sqlite3.Error."""
        days = sorted({start for path in sizes if (start := _day_of(path)) is not None})
        self._database.begin()
        for start in days:
            self._database.forget_minutes(start, start + DAY_MS)
            self._database.forget_held(start, start + DAY_MS)
        self._memory.restart(days)
        for start in days:
            self._fold_day({path: size for path, size in sizes.items() if _day_of(path) == start})
        kept = self._keep_richer(days)
        return Done(len(days), sum(self._calls_by_hour.values()), self._unparsable, kept)

    def _fold_day(self, sizes: Mapping[str, int]) -> None:
        for rows in read_batches(self._data, sizes):
            self._unparsable += rows.unparsable_lines
            batch = sound_rows(rows.batch)
            for minute_ms, block in fold(batch, self._registry.ids_of(batch.dictionary)):
                self._memory.add(minute_ms, block)
                self._registry.heard(block.series, block.high[LAST_TS])
                hour = minute_ms - minute_ms % HOUR_MS
                self._calls_by_hour[hour] = self._calls_by_hour.get(hour, 0) + int(block.add[COUNT].sum())
            if self._memory.unsaved_bytes > SPILL_BYTES:
                self._spill()

    def _keep_richer(self, days: list[int]) -> int:
        """Leave alone the files that say much more than what is left of their metrics; how many."""
        stored = Stored(self._database, self._files, self._registry, as_writer=True)
        richer = set()
        for start in days:
            for node in parts_at(HOUR, Node(DAY, start)):
                block = stored.file(node)
                if block is not None and self._calls_by_hour.get(node.start_ms, 0) < POORER * block.calls:
                    richer.add(node)
        if richer:
            self._begin_minutes_after(max(richer), days[0], richer, stored)
        return len(richer)

    def _begin_minutes_after(self, last: Node, first_ms: int, richer: set[Node], stored: Stored) -> None:
        """Minutes are complete only after `last`: the other hours before it are held whole."""
        self._spill()
        tree = Tree(self._memory.snapshot(), self._memory.cache, stored)
        for start in range(first_ms, last.end_ms, HOUR_MS):
            node = Node(HOUR, start)
            if node not in richer and start in self._calls_by_hour:
                self._database.put_blocks({node: tree.block(node)})
                self._memory.held.add(node)
        self._database.forget_minutes(first_ms, last.end_ms)
        self._memory.unmark(richer)
        self._memory.floors = self._memory.floors._replace(minute_ms=last.end_ms)

    def _spill(self) -> None:
        self._database.put_blocks(self._memory.unsaved().blocks)
        self._memory.spilled()


def _day_of(path: str) -> int | None:
    day = path.partition("/")[0]
    try:
        return day_start(day) if _DAY.fullmatch(day) else None
    except BadTime:
        return None
