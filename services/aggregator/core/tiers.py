"""The tree of time: minutes, hours and days that are stored, and spans between and above them that are only remembered.

A node is an aligned span of UTC time. Three levels are stored (STORED); the others exist to make merging cheap: a range of any
length is covered by a few dozen nodes, and a span that is remembered spares merging what lies below it. Pure arithmetic; every
level's span divides the next one's, and all are aligned to the epoch, which is a UTC midnight.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from shared.timespan import DAY_MS, HOUR_MS, MINUTE_MS

#: Span of each level in ms, each dividing the next.
SPANS_MS: Final = (
    MINUTE_MS,
    5 * MINUTE_MS,
    15 * MINUTE_MS,
    HOUR_MS,
    3 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
    4 * DAY_MS,
    16 * DAY_MS,
    64 * DAY_MS,
)
#: The levels that are stored: rows of SQLite, and files.
MINUTE: Final = SPANS_MS.index(MINUTE_MS)
HOUR: Final = SPANS_MS.index(HOUR_MS)
DAY: Final = SPANS_MS.index(DAY_MS)
STORED: Final = {MINUTE: "minute", HOUR: "hourly", DAY: "daily"}


class Node(NamedTuple):
    """An aligned span: its level (an index of SPANS_MS) and its first moment, epoch ms."""

    level: int
    start_ms: int

    @property
    def end_ms(self) -> int:
        """The first moment after it."""
        return self.start_ms + SPANS_MS[self.level]

    @property
    def source(self) -> str:
        """What it is made of where it is stored: `minute`, `hourly` or `daily`."""
        return STORED[DAY if self.level >= DAY else HOUR if self.level >= HOUR else MINUTE]


class Floors(NamedTuple):
    """From when on each stored level is complete, epoch ms: minutes from an hour's start, hours and days from a day's.

    Before its floor a level has nothing, and only a coarser one can tell.
    """

    minute_ms: int = 0
    hour_ms: int = 0
    day_ms: int = 0

    def finest(self, ts_ms: int) -> int:
        """The finest level that still tells about a moment."""
        if ts_ms >= self.minute_ms:
            return MINUTE
        return HOUR if ts_ms >= self.hour_ms else DAY


def node_at(level: int, ts_ms: int) -> Node:
    """The node of a level that holds a moment."""
    return Node(level, ts_ms - ts_ms % SPANS_MS[level])


def holders(node: Node) -> Iterator[Node]:
    """The nodes above one that hold it, nearest first."""
    for level in range(node.level + 1, len(SPANS_MS)):
        yield node_at(level, node.start_ms)


def parts(node: Node) -> list[Node]:
    """The nodes one level below that make up a node."""
    return parts_at(node.level - 1, node)


def parts_at(level: int, node: Node) -> list[Node]:
    """The nodes of a finer level that make up a node."""
    return [Node(level, start) for start in range(node.start_ms, node.end_ms, SPANS_MS[level])]


def snap(start_ms: int, end_ms: int, floors: Floors) -> tuple[int, int]:
    """The range widened to where the nodes that still exist begin and end."""
    start = node_at(floors.finest(start_ms), start_ms).start_ms
    last = node_at(floors.finest(max(end_ms - 1, start_ms)), max(end_ms - 1, start_ms))
    return start, last.end_ms


def cover(start_ms: int, end_ms: int) -> list[Node]:
    """The fewest nodes that make up a range exactly; both ends are whole minutes."""
    found = []
    at = start_ms
    while at < end_ms:
        level = 0
        while level + 1 < len(SPANS_MS):
            span = SPANS_MS[level + 1]
            if at % span or at + span > end_ms:
                break
            level += 1
        found.append(Node(level, at))
        at += SPANS_MS[level]
    return found
