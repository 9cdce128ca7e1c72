"""Blocks that were fetched or merged before, the longest unused forgotten first, up to a number of bytes.

A query fetches outside the consumer's lock while rows go on arriving. It opens a `Watch` first; a node that changes meanwhile is
noted in every open watch, and what such a query merged of it is not kept. Safe from two threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from services.aggregator.core.block import Block
from services.aggregator.core.tiers import Node


class Watch:
    """The nodes that changed since a query began; `everything` once the whole cache was cleared."""

    def __init__(self) -> None:
        self.changed: set[Node] = set()
        self.everything = False


class BlockCache:
    """Least recently used first out. What was asked for and what was fetched as a part of it are kept apart, so that a year read
    once doesn't push out what every query needs.
    """

    def __init__(self, asked_bytes: int, parts_bytes: int) -> None:
        self._lock = threading.Lock()
        self._asked = _Shelf(asked_bytes)
        self._parts = _Shelf(parts_bytes)
        self._watches: list[Watch] = []
        self.hits_total = 0
        self.misses_total = 0

    def __len__(self) -> int:
        return len(self._asked.blocks) + len(self._parts.blocks)

    @property
    def size_bytes(self) -> int:
        """About what all blocks take."""
        return self._asked.size_bytes + self._parts.size_bytes

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
        with self._lock:
            block = self._asked.get(node)
            if block is None:
                block = self._parts.get(node)
            if block is None:
                self.misses_total += 1
            else:
                self.hits_total += 1
            return block

    def put(self, node: Node, block: Block, watch: Watch | None = None, *, part: bool = False) -> None:
        """Keep a block, unless the node changed since the watch began. `part`: it was fetched only to be merged."""
        with self._lock:
            if watch is None or not (watch.everything or node in watch.changed):
                (self._parts if part else self._asked).put(node, block)

    def forget(self, nodes: Iterable[Node]) -> None:
        """These changed."""
        with self._lock:
            for node in nodes:
                self._asked.drop(node)
                self._parts.drop(node)
                for watch in self._watches:
                    watch.changed.add(node)

    def clear(self) -> None:
        """Everything may have changed."""
        with self._lock:
            self._asked.clear()
            self._parts.clear()
            for watch in self._watches:
                watch.everything = True


class _Shelf:
    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self.blocks: OrderedDict[Node, Block] = OrderedDict()
        self.size_bytes = 0

    def get(self, node: Node) -> Block | None:
        block = self.blocks.get(node)
        if block is not None:
            self.blocks.move_to_end(node)
        return block

    def put(self, node: Node, block: Block) -> None:
        self.drop(node)
        if block.size_bytes > self._limit:
            return
        self.blocks[node] = block
        self.size_bytes += block.size_bytes
        while self.size_bytes > self._limit:
            self.drop(next(iter(self.blocks)))

    def drop(self, node: Node) -> None:
        block = self.blocks.pop(node, None)
        if block is not None:
            self.size_bytes -= block.size_bytes

    def clear(self) -> None:
        self.blocks.clear()
        self.size_bytes = 0
