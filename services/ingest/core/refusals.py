"""Rows that were not stored, by what becomes of them: lost, refused for good, or to come again.

Lost is what nobody was told about: a fire-and-forget message whose rows were refused, whatever for. What an acknowledgement
refuses for what it is, is refused for good; what it refuses because the disk is full or the like comes again: nothing is lost.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

#: What a refused frame counts as whose rows can't be read.
UNREAD_ROWS: Final = 1


class Refusals:
    """Counters of rows, by reason."""

    def __init__(self) -> None:
        self.lost: Counter[str] = Counter()
        self.for_good: Counter[str] = Counter()
        self.come_again: Counter[str] = Counter()

    def note(self, reason: str, rows: int, *, acknowledged: bool, again: bool = False) -> None:
        """So many rows of one message were refused."""
        kind = self.lost if not acknowledged else self.come_again if again else self.for_good
        kind[reason] += rows
