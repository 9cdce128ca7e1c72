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
    """Least recently used first out; at most `limit_bytes` of blocks."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._blocks: OrderedDict[Node, Block] = OrderedDict()
        self._watches: list[Watch] = []
        self.size_bytes = 0
        self.hits_total = 0
        self.misses_total = 0

    def __len__(self) -> int:
        return len(self._blocks)

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
            block = self._blocks.get(node)
            if block is None:
                self.misses_total += 1
                return None
            self.hits_total += 1
            self._blocks.move_to_end(node)
            return block

    def put(self, node: Node, block: Block, watch: Watch | None = None) -> None:
        """Keep a block, unless the node changed since the watch began."""
        size = block.size_bytes
        with self._lock:
            if watch is not None and (watch.everything or node in watch.changed):
                return
            self._drop(node)
            if size > self._limit:
                return
            self._blocks[node] = block
            self.size_bytes += size
            while self.size_bytes > self._limit:
                self._drop(next(iter(self._blocks)))

    def forget(self, nodes: Iterable[Node]) -> None:
        """These changed."""
        with self._lock:
            for node in nodes:
                self._drop(node)
                for watch in self._watches:
                    watch.changed.add(node)

    def clear(self) -> None:
        """Everything may have changed."""
        with self._lock:
            self._blocks.clear()
            self.size_bytes = 0
            for watch in self._watches:
                watch.everything = True

    def _drop(self, node: Node) -> None:
        block = self._blocks.pop(node, None)
        if block is not None:
            self.size_bytes -= block.size_bytes
