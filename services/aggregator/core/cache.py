"""Blocks that were fetched or merged before, the longest unused forgotten first, up to a number of bytes.

Four shelves, so that one kind of question doesn't push out what another needs: what was asked for, what was fetched only to be
merged, the spans above a day (which take many files to make), and whole ranges as they were asked for.

A query fetches outside the consumer's lock while rows go on arriving. It opens a `Watch` first; what changes meanwhile is
noted in every open watch, and what such a query merged of it is not kept. Safe from two threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from services.aggregator.core.block import Block
from services.aggregator.core.tiers import DAY, Node, holders

Range = tuple[int, int]
Key = TypeVar("Key")


class Limits(NamedTuple):
    """Bytes of each shelf."""

    asked: int
    parts: int
    long: int
    ranges: int


class Watch:
    """The nodes that changed since a query began; `everything` once the whole cache was cleared."""

    def __init__(self) -> None:
        self.changed: list[Node] = []
        self.everything = False

    def touches(self, start_ms: int, end_ms: int) -> bool:
        """Whether anything of a range changed."""
        return self.everything or any(node.start_ms < end_ms and node.end_ms > start_ms for node in self.changed)


class BlockCache:
    """Blocks by node, and merged blocks by range."""

    def __init__(self, limits: Limits) -> None:
        self._lock = threading.Lock()
        self._asked = _Shelf[Node](limits.asked)
        self._parts = _Shelf[Node](limits.parts)
        self._long = _Shelf[Node](limits.long, worth=lambda node: node.level)
        self._ranges = _Shelf[Range](limits.ranges)
        self._watches: list[Watch] = []
        self.hits_total = 0
        self.misses_total = 0

    @property
    def size_bytes(self) -> int:
        """About what all blocks take."""
        return sum(shelf.size_bytes for shelf in (self._asked, self._parts, self._long, self._ranges))

    def watch(self) -> Watch:
        """Begin to note changes; close it with `close`."""
        watch = Watch()
        with self._lock:
            self._watches.append(watch)
        return watch

    def close(self, watch: Watch) -> None:
        """Stop noting changes."""
        with self._lock:
            self._watches.remove(watch)

    def get(self, node: Node) -> Block | None:
        """The block of a node, if it is still here."""
        shelves = (self._long,) if node.level > DAY else (self._asked, self._parts)
        with self._lock:
            found = next((block for shelf in shelves if (block := shelf.get(node)) is not None), None)
            self._count(found)
            return found

    def put(self, node: Node, block: Block, watch: Watch | None = None, *, part: bool = False) -> None:
        """Keep a block, unless it changed since the watch began. `part`: it was fetched only to be merged."""
        shelf = self._long if node.level > DAY else self._parts if part else self._asked
        with self._lock:
            if watch is None or not watch.touches(node.start_ms, node.end_ms):
                shelf.put(node, block)

    def get_range(self, start_ms: int, end_ms: int) -> Block | None:
        """What was merged of a whole range, if it is still here."""
        with self._lock:
            found = self._ranges.get((start_ms, end_ms))
            self._count(found)
            return found

    def put_range(self, start_ms: int, end_ms: int, block: Block, watch: Watch | None = None) -> None:
        """Keep what was merged of a whole range, unless some of it changed since the watch began."""
        with self._lock:
            if watch is None or not watch.touches(start_ms, end_ms):
                self._ranges.put((start_ms, end_ms), block)

    def forget(self, node: Node) -> None:
        """A node changed, and with it whatever holds it."""
        with self._lock:
            for watch in self._watches:
                watch.changed.append(node)
            for each in (node, *holders(node)):
                for shelf in (self._asked, self._parts, self._long):
                    shelf.drop(each)
            for start, end in list(self._ranges.blocks):
                if start < node.end_ms and end > node.start_ms:
                    self._ranges.drop((start, end))

    def clear(self) -> None:
        """Everything may have changed."""
        with self._lock:
            for watch in self._watches:
                watch.everything = True
            for shelf in (self._asked, self._parts, self._long):
                shelf.clear()
            self._ranges.clear()

    def _count(self, found: Block | None) -> None:
        if found is None:
            self.misses_total += 1
        else:
            self.hits_total += 1


class _Shelf(Generic[Key]):
    """Least recently used first out; among blocks of different worth, those of the least."""

    def __init__(self, limit_bytes: int, worth: Callable[[Key], int] | None = None) -> None:
        self._limit = limit_bytes
        self._worth = worth
        self.blocks: OrderedDict[Key, Block] = OrderedDict()
        self.size_bytes = 0

    def get(self, key: Key) -> Block | None:
        block = self.blocks.get(key)
        if block is not None:
            self.blocks.move_to_end(key)
        return block

    def put(self, key: Key, block: Block) -> None:
        self.drop(key)
        if block.size_bytes > self._limit:
            return
        self.blocks[key] = block
        self.size_bytes += block.size_bytes
        while self.size_bytes > self._limit:
            # `min` finds the first of equals, which is the longest unused.
            self.drop(next(iter(self.blocks)) if self._worth is None else min(self.blocks, key=self._worth))

    def drop(self, key: Key) -> None:
        block = self.blocks.pop(key, None)
        if block is not None:
            self.size_bytes -= block.size_bytes

    def clear(self) -> None:
        self.blocks.clear()
        self.size_bytes = 0
