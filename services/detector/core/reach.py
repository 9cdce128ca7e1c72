"""How far the stream itself has come: until when it is known that no call came.

Calls are judged by their own time, and they may come late: a producer that could not send sends hours at once. While such calls
still come, nobody has been silent since: the wall clock says when they came, not what is on its way. Owns that decision, for one
server and for all together; knows nothing of series, nor of what silence means. Only in memory.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from services.detector.core.metrics import MINUTE_MS

#: Calls that come this much after their time come late.
LATE_MS: Final = 2 * MINUTE_MS
#: When none came late for so long, no older ones are on their way.
HOLD_MS: Final = MINUTE_MS


class _Late(NamedTuple):
    """Calls up to `front_ms` came late, at `came_ms` (epoch ms)."""

    front_ms: int
    came_ms: int

    def holds(self, now_ms: int) -> bool:
        return 0 <= now_ms - self.came_ms < HOLD_MS


class Reach:
    """Follows what comes late."""

    def __init__(self) -> None:
        #: By server: the tool that is furthest behind.
        self._late: dict[str, _Late] = {}
        self._all_late: _Late | None = None

    def note_tool(self, server: str, last_ms: int, came_ms: int) -> None:
        """Calls of a tool came at a time, the last of them from another."""
        if came_ms - last_ms <= LATE_MS:
            return
        before = self._late.get(server)
        if before is None or before.came_ms != came_ms or last_ms < before.front_ms:
            self._late[server] = _Late(last_ms, came_ms)

    def note_all(self, newest_ms: int, came_ms: int) -> None:
        """Calls of whatever tools came; one that comes in time says that not all is late."""
        self._all_late = _Late(newest_ms, came_ms) if came_ms - newest_ms > LATE_MS else None

    def held_back(self, now_ms: int) -> frozenset[str]:
        """The servers that have late calls of their own."""
        self._late = {server: late for server, late in self._late.items() if late.holds(now_ms)}
        return frozenset(self._late)

    def of(self, server: str, newest_ms: int, now_ms: int) -> int:
        """Until when the calls of a tool, or of a server, are known (epoch ms) whose newest was at `newest_ms`."""
        lates = (self._all_late, self._late.get(server))
        fronts = (late.front_ms for late in lates if late is not None and late.holds(now_ms))
        return min(now_ms, max(newest_ms, min(fronts, default=now_ms)))

    def of_all(self, now_ms: int) -> int:
        """Likewise of servers that are not held back by themselves."""
        return self.of("", -1, now_ms)
