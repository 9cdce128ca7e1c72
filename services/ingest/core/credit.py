"""How many bytes each connection may have unacknowledged, so that memory stays bounded when files are slower than producers.

One budget covers what was received and is not yet in the JSONL files (`pending_bytes`) and what producers were allowed to send.
A connection's window is its fair share of what is left of it, at least a floor while there is room, and 0 when there is none;
then all stay stopped until half of the budget is free again, and are told so. A credit frame that is lost is made up for by the
producer's probe. Knows nothing of sockets or messages: connections are ZeroMQ identities, time is an argument.

Bound: pending_bytes + all windows <= budget + connections x floor, besides the first megabyte of new connections. On top come
messages that are larger than their window, and probes (one message in 5 s from each that is stopped), until ingest refuses.
A window that its producer did not use for a while lapses on both sides (`CREDIT_LAPSE_S`), first on the producer's.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from perfmon.wire import CREDIT_LAPSE_S

#: Bytes received and not yet in the files, with what producers may still send.
BUDGET_BYTES: Final = 64 * 1024 * 1024
#: The least window while there is room: below it a producer would send single small messages.
FLOOR_BYTES: Final = 64 * 1024
#: The part of the budget that one connection may have; more in flight makes nothing faster.
LARGEST_SHARE: Final = 1 / 4
#: The part of the budget that must be free again before those who were stopped may send.
RESUME_SHARE: Final = 1 / 2
#: After so long without a message a connection's window is taken back; its producer did so in half of this time.
FORGET_AFTER_MS: Final = int(2 * CREDIT_LAPSE_S * 1000)
#: Connections that are told apart; beyond them the ones silent for the longest are forgotten.
MAX_CONNECTIONS: Final = 1_024


class Credit:
    """The windows of all connections heard of lately. O(1) a message. Times are of a clock that is never set back."""

    def __init__(self, budget_bytes: int = BUDGET_BYTES, *, floor_bytes: int = FLOOR_BYTES) -> None:
        if not 0 < floor_bytes <= budget_bytes:
            raise ValueError("the floor is above 0 and within the budget")
        self._budget = budget_bytes
        self._floor = floor_bytes
        self._windows: OrderedDict[bytes, tuple[int, int]] = (
            OrderedDict()
        )  # identity → (window, heard at), oldest first
        self._cut: set[bytes] = set()
        self.granted_bytes = 0
        self.stopped = False
        self.stopped_total = 0

    def window(self, identity: bytes, now_ms: int, pending_bytes: int) -> int:
        """The credit for an acknowledgement to this connection, whose message was just taken.

        `pending_bytes` counts all that waits for the files, this message included.
        """
        self._forget(now_ms)
        self._take_back(identity)
        self._judge(pending_bytes)
        if len(self._windows) >= MAX_CONNECTIONS:
            self._take_back(next(iter(self._windows)))
        self._windows[identity] = (0, now_ms)
        return self._grant(identity, now_ms, pending_bytes)

    def room(self, now_ms: int, pending_bytes: int) -> list[tuple[bytes, int]]:
        """The connections that were stopped and may send again, with their credit; each is named once. Cheap when there are
        none.
        """
        self._judge(pending_bytes)
        if self.stopped or not self._cut:
            return []
        self._forget(now_ms)
        stopped = [identity for identity in self._windows if identity in self._cut]
        self._cut.clear()
        return [(identity, self._grant(identity, self._windows[identity][1], pending_bytes)) for identity in stopped]

    def gone(self, identity: bytes) -> None:
        """Nothing can be sent to this connection: its window is free."""
        self._take_back(identity)

    def __len__(self) -> int:
        return len(self._windows)

    def _judge(self, pending_bytes: int) -> None:
        if self.stopped:
            self.stopped = pending_bytes > self._budget * (1 - RESUME_SHARE)
        elif pending_bytes >= self._budget:
            self.stopped = True
            self.stopped_total += 1

    def _grant(self, identity: bytes, heard_ms: int, pending_bytes: int) -> int:
        """A window for one that is in the table and has none."""
        window = 0 if self.stopped else self._share(pending_bytes)
        self._windows[identity] = (window, heard_ms)
        self.granted_bytes += window
        if window == 0:
            self._cut.add(identity)
        return window

    def _share(self, pending_bytes: int) -> int:
        free = self._budget - pending_bytes
        fair = min(free // len(self._windows), int(self._budget * LARGEST_SHARE))
        # What others still hold from when they were fewer comes back with their next acknowledgement.
        return max(self._floor, min(fair, free - self.granted_bytes))

    def _forget(self, now_ms: int) -> None:
        while self._windows:
            identity, (_, heard_ms) = next(iter(self._windows.items()))
            if now_ms - heard_ms < FORGET_AFTER_MS:
                return
            self._take_back(identity)

    def _take_back(self, identity: bytes) -> None:
        window, _ = self._windows.pop(identity, (0, 0))
        self.granted_bytes -= window
        self._cut.discard(identity)
