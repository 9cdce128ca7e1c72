"""The aggregator's state on a real directory, one life after the other, and what its answers and files are held against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perfmon.paths import DataDirectory
from services.aggregator.core.planner import plan
from services.aggregator.core.query import from_blocks
from services.aggregator.core.request import parse_request
from services.aggregator.shell.state import FILES_ALONE, AggregatorState
from shared.batch import Batch
from shared.consumer import Entry, Position
from shared.timespan import DAY_MS, MINUTE_MS
from tests.unit.aggregator.naive import T0, Call, assert_same, batch_of, grouped

MIDNIGHT = T0 + 2 * MINUTE_MS
#: Long after everything here has ended.
LATER = MIDNIGHT + 3 * DAY_MS


class Aggregator:
    """One life of the state after the other on one directory; `journal` is what ingest has committed."""

    def __init__(self, data: DataDirectory) -> None:
        self.data = data
        self.journal: list[Batch] = []
        self.asked_for_cleanup: list[str] = []
        self.snapshot: dict[str, int] = {}
        self.clock_ms = 0
        self.start()

    def start(self) -> None:
        self.state = AggregatorState(self.data, ask_for_cleanup=self.asked_for_cleanup.append)
        position = self.state.load()
        self.seq = position.seq if position else 0
        self.epoch = position.epoch if position else "e"
        if self.epoch == FILES_ALONE:
            return  # the consumer asks for a rebuild
        for seq in range(self.seq + 1, len(self.journal) + 1):
            self.apply(seq)

    def kill(self) -> None:
        self.state.database.close()
        self.start()

    def apply(self, seq: int) -> None:
        self.state.apply(Entry(self.epoch, seq, 0, self.journal[seq - 1]), self.clock_ms, live=True)
        self.seq = seq

    def commit(self, *some: Call) -> None:
        self.journal.append(batch_of(some))
        self.apply(len(self.journal))

    def save(self, now_ms: int = LATER) -> None:
        self.state.save(Position(self.epoch, self.seq))
        self.state.saved(now_ms)

    def settle(self, now_ms: int = LATER + DAY_MS) -> None:
        """Save and write until nothing is due."""
        self.save(now_ms)
        while self.state.tick(now_ms):
            self.save(now_ms)

    def rollup(self, start_ms: int = 0, end_ms: int = LATER, **more: Any) -> dict[str, Any]:
        request = parse_request({"startMs": start_ms, "endMs": end_ms, **more})
        view = self.state.view()
        last = view.registry.last_ts()
        planned = plan(request, view.snapshot.floors, view.snapshot.first_ms, last or 0)
        tree = view.tree()
        slots = ((slot.ts_ms, tree.blocks(slot.nodes)) for slot in planned.slots)
        found = from_blocks(request, slots, view.registry)
        view.cache.close(view.watch)
        return found

    def rows(self, **more: Any) -> dict[tuple[str, str], dict[str, Any]]:
        return {(row["mcpServer"], row["toolName"]): row for row in self.rollup(**more)["rows"]}


def matches(found: dict[tuple[str, str], dict[str, Any]], some: list[Call]) -> None:
    wanted = grouped(some, lambda call: (call.server, call.tool))
    assert set(found) == set(wanted)
    for name, figures in wanted.items():
        assert_same(found[name], figures)


def call(ts: int, duration: float = 1.0, tool: str = "b") -> Call:
    return Call("a", tool, ts, duration, ok=True)


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def total(folder: Path, name: str) -> int:
    return sum(each["metrics"]["count"] for each in json.loads((folder / name).read_text()))
