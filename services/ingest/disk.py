"""What is known of the disk: which writes it refused for lack of space, and when others are to be asked to clean up.

Pure of sockets and files: `failed` is told of an error and says how a producer is to be answered.
"""

from __future__ import annotations

from typing import Final

import structlog

from shared.database import is_full

#: How often a clean-up is asked for again while the disk is full: whoever cleans up may have been down.
ASK_AGAIN_S: Final = 15.0
#: How often the same refusal is logged.
LOG_EVERY_S: Final = 10.0


class Disk:
    """Refused writes by where they went: `journal`, `files`, `call_ids`, `index`."""

    def __init__(self) -> None:
        self.failures_total = 0
        self._full: set[str] = set()
        self._asked_at = float("-inf")
        self._logged_at: dict[str, float] = {}

    @property
    def full(self) -> bool:
        """Whether some write was refused for lack of space and has not succeeded since."""
        return bool(self._full)

    def failed(self, where: str, error: Exception, now_s: float) -> tuple[str, str]:
        """Note a refused write; the code and message for producers. `now_s` is a monotonic clock."""
        self.failures_total += 1
        if now_s - self._logged_at.get(where, float("-inf")) >= LOG_EVERY_S:
            self._logged_at[where] = now_s
            structlog.get_logger().error("storage_failed", where=where, reason=str(error))
        if is_full(error):
            self._full.add(where)
            return "disk_full", "the disk is full; a clean-up was asked for, try again"
        return "storage_failed", "the journal could not be written; the log of ingest says why"

    def written(self, where: str) -> None:
        """A write went through."""
        self._full.discard(where)

    def freed(self) -> None:
        """Something was removed: ask again only when the next write is refused."""
        self._full.clear()

    def ask_for_space(self, now_s: float) -> bool:
        """Whether to ask for a clean-up now: at once when the disk fills up, then again and again."""
        if not self._full or now_s - self._asked_at < ASK_AGAIN_S:
            return False
        self._asked_at = now_s
        return True
