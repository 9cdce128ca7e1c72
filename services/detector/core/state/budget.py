"""The bytes that all series together may take.

What a series takes to begin with is counted; every array that grows asks here first. When the budget is spent nothing fails:
histories stop growing and forget their oldest rows instead, those of the largest series too when new ones come, and answers'
coverage says since when there are data. Ten thousand series with all resources have minutes and signals but hardly a history;
a few hundred have a whole day.
"""

from __future__ import annotations

from typing import Final

#: Bytes of all series. A tool called every minute of a day, with all resources measured, takes about 0.4 MB, one without
#: resources 0.15 MB.
BUDGET_BYTES: Final = 84 * 1_000_000
#: What a series' objects take besides their arrays.
OBJECTS_BYTES: Final = 1_600
#: Share of the budget that is left once histories had to go.
_LEFT_SHARE: Final = 0.9


class Budget:
    """Counts bytes out and in."""

    def __init__(self, total_bytes: int = BUDGET_BYTES) -> None:
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

    @property
    def spare_bytes(self) -> int:
        """What may still be used; not below 0."""
        return max(0, self.total_bytes - self.used_bytes)

    @property
    def excess_bytes(self) -> int:
        """What has to go, once more is used than there is; 0 before."""
        over = self.used_bytes > self.total_bytes
        return int(self.used_bytes - _LEFT_SHARE * self.total_bytes) if over else 0
