"""The bytes that all series together may grow by.

Every array that grows asks here first. When the budget is spent nothing fails: histories stop growing and forget their oldest
rows instead, and answers' coverage says since when there are data.
"""

from __future__ import annotations

from typing import Final

#: Growth of all series' histories together. A tool called every minute of a day, with all resources measured, takes about
#: 0.5 MB, one without resources 0.15 MB; a series begins with about 6 KB outside the budget.
HISTORY_BUDGET_BYTES: Final = 256 * 1024 * 1024


class Budget:
    """Counts bytes out and in."""

    def __init__(self, total_bytes: int = HISTORY_BUDGET_BYTES) -> None:
        self.total_bytes = total_bytes
        self.used_bytes = 0
        self.refused_total = 0

    def take(self, size_bytes: int) -> bool:
        """Whether the bytes may be used; if so they are counted."""
        if self.used_bytes + size_bytes > self.total_bytes:
            self.refused_total += 1
            return False
        self.used_bytes += size_bytes
        return True

    def force(self, size_bytes: int) -> None:
        """Count bytes that must be used, or (negative) that no longer are."""
        self.used_bytes = max(0, self.used_bytes + size_bytes)
