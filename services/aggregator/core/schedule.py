"""When the file of an hour or a day is written: shortly after it ended, and again when late rows made it stale.

Pure: told what is stale and what time it is. A file that goes on getting late rows is written at most once a minute; one that
could not be written is tried again after a pause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from services.aggregator.core.tiers import HOUR, Node

#: After its end an hour waits this long for the rows that are still under way.
GRACE_MS: Final = 5_000
#: A file waits until its last late row is this old …
SETTLE_MS: Final = 5_000
#: … but no longer than this since it was first (or last) due.
PATIENCE_MS: Final = 60_000
#: Pause before a file that could not be written is tried again.
RETRY_MS: Final = 30_000
#: Files written in one turn, so that the loop goes on in between.
FILES_A_TURN: Final = 4


class Schedule:
    """Which stale files are due."""

    def __init__(self) -> None:
        self._marked_ms: dict[Node, int] = {}
        self._waiting_since_ms: dict[Node, int] = {}
        self._failed_ms: dict[Node, int] = {}

    def marked(self, nodes: Iterable[Node], now_ms: int) -> None:
        """Rows arrived for these now."""
        for node in nodes:
            self._marked_ms[node] = now_ms
            self._waiting_since_ms.setdefault(node, now_ms)

    def written(self, node: Node) -> None:
        """It is on disk."""
        for memory in (self._marked_ms, self._waiting_since_ms, self._failed_ms):
            memory.pop(node, None)

    def failed(self, node: Node, now_ms: int) -> None:
        """It could not be written."""
        self._failed_ms[node] = now_ms

    def due(self, stale: Iterable[Node], now_ms: int, is_blocked: Callable[[Node], bool]) -> list[Node]:
        """The files to write now, hours before days, oldest first, a few at most."""
        ready = sorted(node for node in stale if self._is_due(node, now_ms) and not is_blocked(node))
        hours = [node for node in ready if node.level == HOUR]
        waiting = {
            (node.start_ms, node.end_ms) for node in stale if node.level == HOUR and self._has_ended(node, now_ms)
        }
        days = [
            node
            for node in ready
            if node.level != HOUR and not any(node.start_ms <= start < node.end_ms for start, _ in waiting)
        ]
        return (hours + days)[:FILES_A_TURN]

    def _is_due(self, node: Node, now_ms: int) -> bool:
        if not self._has_ended(node, now_ms):
            return False
        failed, marked = self._failed_ms.get(node), self._marked_ms.get(node)
        if failed is not None and _is_recent(failed, RETRY_MS, now_ms):
            return False
        waited_ms = now_ms - self._waiting_since_ms.get(node, now_ms)
        return marked is None or not _is_recent(marked, SETTLE_MS, now_ms) or waited_ms >= PATIENCE_MS

    def _has_ended(self, node: Node, now_ms: int) -> bool:
        return now_ms >= node.end_ms + GRACE_MS


def _is_recent(at_ms: int, span_ms: int, now_ms: int) -> bool:
    """Within a span before now. What lies ahead was noted under a clock that has been set back since, so nobody knows."""
    return 0 <= now_ms - at_ms < span_ms
