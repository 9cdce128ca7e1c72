"""The block of any node: remembered, hot, read, or merged from the nodes below it.

Owns the order in which places are asked, so that every call is counted once: an hour that is held as a row is that row; a stale
hour is its minutes; any other is its file, and its minutes only if there is no readable file. Days likewise, of hours. Reads
through `Sources`; knows no file, no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from services.aggregator.core.block import EMPTY, Block, merge
from services.aggregator.core.cache import BlockCache, Watch
from services.aggregator.core.fold import LAST_MOMENT_MS
from services.aggregator.core.memory import Snapshot
from services.aggregator.core.tiers import DAY, HOUR, MINUTE, Node, node_at, parts

#: Nodes from which on a range is remembered merged.
RANGE_NODES: Final = 4


class Sources(Protocol):
    """What is stored."""

    def row(self, node: Node) -> Block | None:
        """The row of a minute, or of a held hour or day; None when there is none."""

    def file(self, node: Node) -> Block | None:
        """What the file of an hour or a day holds; None when there is none, or none that can be read."""

    def has_parts(self, node: Node) -> bool:
        """Whether anything is stored of the level below an hour or day."""


class Tree:
    """Blocks as of one snapshot. Remembers what it fetched or merged, unless it changed since `watch` began."""

    def __init__(self, snapshot: Snapshot, cache: BlockCache, sources: Sources, watch: Watch | None = None) -> None:
        self._snapshot = snapshot
        self._cache = cache
        self._sources = sources
        self._watch = watch
        #: The hours that rows arrive for: their minutes are merged again and again.
        self._quiet_before_ms = min((node.start_ms for node in snapshot.hot), default=LAST_MOMENT_MS)
        self._live = {node_at(HOUR, node.start_ms) for node in snapshot.hot}

    def blocks(self, nodes: Sequence[Node]) -> list[Block]:
        """Every call of a range covered by nodes, in one block or a few. What no rows arrive for is remembered merged: the next
        question is often about the same range.
        """
        quiet = [node for node in nodes if node.end_ms <= self._quiet_before_ms]
        if len(quiet) < RANGE_NODES:
            return [self.block(node) for node in nodes]
        start, end = quiet[0].start_ms, quiet[-1].end_ms
        merged = self._cache.get_range(start, end)
        if merged is None:
            merged = merge([self.block(node) for node in quiet])
            self._cache.put_range(start, end, merged, self._watch)
        return [merged, *(self.block(node) for node in nodes[len(quiet) :])]

    def block(self, node: Node) -> Block:
        """Every call of a node's span."""
        found = self._cache.get(node)
        if found is None:
            found = self._fetched(node)
            self._cache.put(node, found, self._watch)
        return found

    def _part(self, node: Node) -> Block:
        found = self._cache.get(node)
        if found is None:
            found = self._fetched(node)
            if node.level >= HOUR or node_at(HOUR, node.start_ms) in self._live:
                self._cache.put(node, found, self._watch, part=True)
        return found

    def _fetched(self, node: Node) -> Block:
        hot = self._snapshot.hot.get(node)
        if hot is not None:
            return merge(hot)
        if node.level == MINUTE:
            return _or_empty(self._sources.row(node))
        if node.level == HOUR:
            return self._stored(node, self._snapshot.floors.minute_ms)
        if node.level == DAY:
            return self._stored(node, self._snapshot.floors.hour_ms)
        return self._merged(node)

    def _stored(self, node: Node, floor_ms: int) -> Block:
        """The block of an hour or a day; from `floor_ms` on, the level below it is complete."""
        if node in self._snapshot.held:
            # A held row goes once its file is written, which may be since the snapshot was taken.
            row = self._sources.row(node)
            return _or_empty(self._sources.file(node) if row is None else row)
        complete_below = node.start_ms >= floor_ms
        if complete_below and node in self._snapshot.stale:
            return self._merged(node)
        read = self._sources.file(node)
        if read is None and complete_below and self._sources.has_parts(node):
            return self._merged(node)
        return _or_empty(read)

    def _merged(self, node: Node) -> Block:
        return merge([self._part(part) for part in parts(node)])


def _or_empty(block: Block | None) -> Block:
    return EMPTY if block is None else block
