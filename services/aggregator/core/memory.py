"""What of the rollups is in memory and not, or not yet, elsewhere: the minutes that rows arrive for, and which files are stale.

Every moment has one place of truth. From the minutes' floor on it is its minute's row; before it, where minutes are gone, late
rows go to the whole hour's block, which is then held as a row until its file is written again; before the hours' floor to the
day's; before the days' floor late rows are counted and dropped. An hour (day) is stale while its file is not what its minutes
(hours) say; a mark goes only after the file is on disk. Decides all this; reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from services.aggregator.core.block import Block, merge
from services.aggregator.core.cache import BlockCache
from services.aggregator.core.fold import LAST_MOMENT_MS
from services.aggregator.core.tiers import DAY, HOUR, MINUTE, Floors, Node, holders, node_at

#: Parts of a hot block that wait to be merged into it; a query merges them for itself.
MOST_PARTS: Final = 8
#: Minutes that stay in memory after they were saved: those that rows still arrive for.
RECENT_MINUTES: Final = 3


class Snapshot(NamedTuple):
    """The state at one moment, for a query that goes on outside the lock. `hot` has whole blocks in parts, to be merged; before
    `first_ms` there is nothing.
    """

    floors: Floors
    first_ms: int
    stale: frozenset[Node]
    held: frozenset[Node]
    hot: dict[Node, tuple[Block, ...]]


class Unsaved(NamedTuple):
    """What a save has to write: whole blocks of nodes, and marks."""

    blocks: dict[Node, Block]
    stale: set[Node]


class Memory:
    """The state between two saves. `base_of(node)` brings what is stored of a node that becomes hot."""

    def __init__(
        self,
        floors: Floors,
        stale: Iterable[Node],
        held: Iterable[Node],
        cache: BlockCache,
        base_of: Callable[[Node], Block],
        *,
        first_ms: int = LAST_MOMENT_MS,
    ) -> None:
        self.floors = floors
        self.stale = set(stale)
        self.held = set(held)
        self.cache = cache
        #: Nothing is stored of the time before; LAST_MOMENT_MS when nothing is stored at all.
        self.first_ms = first_ms
        self.dropped_total = 0
        self.late_total = 0
        self._base_of = base_of
        self._hot: dict[Node, list[Block]] = {}
        self._unsaved: set[Node] = set()
        self._unsaved_stale: set[Node] = set()

    @property
    def unsaved_bytes(self) -> int:
        """About what the unsaved blocks take in memory."""
        return sum(part.size_bytes for node in self._unsaved for part in self._hot[node])

    def add(self, minute_ms: int, block: Block) -> list[Node]:
        """Take the calls of one minute; the hours and days whose files are stale now."""
        node = self._home(minute_ms)
        if node is None:
            self.dropped_total += block.calls
            return []
        if node not in self._hot:
            self._hot[node] = [self._base_of(node)]
        parts = self._hot[node]
        parts.append(block)
        _compact(parts)
        self._unsaved.add(node)
        self.first_ms = min(self.first_ms, node.start_ms)
        if node.level != MINUTE:
            self.held.add(node)
            self.late_total += block.calls
        self.cache.forget(node)
        return self._mark(node)

    def mark(self, nodes: Iterable[Node]) -> None:
        """These files are stale."""
        fresh = set(nodes) - self.stale
        self.stale |= fresh
        self._unsaved_stale |= fresh

    def written(self, node: Node) -> None:
        """The file of an hour or day is on disk, and its mark and its row (if it was held) are gone."""
        self.stale.discard(node)
        self.held.discard(node)
        self._hot.pop(node, None)

    def whole(self, node: Node) -> Block | None:
        """The whole block of a hot node."""
        parts = self._hot.get(node)
        if parts is None:
            return None
        if len(parts) > 1:
            parts[:] = [merge(parts)]
        return parts[0]

    def snapshot(self) -> Snapshot:
        """The state as it is now."""
        hot = {node: tuple(parts) for node, parts in self._hot.items()}
        return Snapshot(self.floors, self.first_ms, frozenset(self.stale), frozenset(self.held), hot)

    def unsaved(self) -> Unsaved:
        """What is not on disk yet."""
        blocks = {node: whole for node in sorted(self._unsaved) if (whole := self.whole(node)) is not None}
        return Unsaved(blocks, set(self._unsaved_stale))

    def saved(self) -> None:
        """All of it is on disk now; only the newest minutes stay hot."""
        self._unsaved.clear()
        self._unsaved_stale.clear()
        minutes = sorted((node for node in self._hot if node.level == MINUTE), reverse=True)
        for node in minutes[RECENT_MINUTES:]:
            block = self.whole(node)
            if block is not None:
                self.cache.put(node, block)
            del self._hot[node]
        for node in [node for node in self._hot if node.level != MINUTE]:
            del self._hot[node]

    def raise_floors(self, floors: Floors) -> None:
        """Some levels were cleaned up below these; what was remembered of them is forgotten."""
        self.floors = floors
        self.first_ms = max(self.first_ms, floors.day_ms)
        self._hot = {
            node: parts
            for node, parts in self._hot.items()
            if node in self._unsaved or node.level != MINUTE or node.start_ms >= floors.minute_ms
        }
        self.cache.clear()

    def spilled(self) -> None:
        """The unsaved blocks are stored, though their marks are not: nothing needs to be hot."""
        self._unsaved.clear()
        self._hot.clear()

    def restart(self, days: Collection[int]) -> None:
        """Nothing is stored any more below these days (their first moments), and their minutes are going to be complete."""
        self.unmark([node for node in self.stale if node_at(DAY, node.start_ms).start_ms in days])
        self.held -= {node for node in self.held if node_at(DAY, node.start_ms).start_ms in days}
        if days:
            first, floors = min(days), self.floors
            self.floors = Floors(min(floors.minute_ms, first), min(floors.hour_ms, first), floors.day_ms)

    def unmark(self, nodes: Iterable[Node]) -> None:
        """These files are right as they are."""
        gone = set(nodes)
        self.stale -= gone
        self._unsaved_stale -= gone

    def has_unsaved(self, node: Node) -> bool:
        """Whether anything of an hour or day is not on disk yet."""
        return any(node.start_ms <= each.start_ms < node.end_ms for each in self._unsaved)

    def _home(self, ts_ms: int) -> Node | None:
        if ts_ms < self.floors.day_ms:
            return None
        return node_at(self.floors.finest(ts_ms), ts_ms)

    def _mark(self, node: Node) -> list[Node]:
        marks = [each for each in (node, *holders(node)) if each.level in {HOUR, DAY}]
        self.mark(marks)
        return marks


def _compact(parts: list[Block]) -> None:
    """Merge parts once there are many, and the whole with them once they are no small part of it, so that each entry is merged a
    few times at most.
    """
    if len(parts) > MOST_PARTS:
        parts[1:] = [merge(parts[1:])]
        if 2 * parts[1].size_bytes >= parts[0].size_bytes:
            parts[:] = [merge(parts)]
