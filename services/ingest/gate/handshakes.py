"""Counts what became of connections, from the events of libzmq's socket monitor. Pure.

Every connection that was accepted comes to one of three ends within the handshake's time limit: it succeeded, it failed with an
event that says how, or it ended without a word (what was not ZMTP at all). Events of different connections interleave and do not
say whose they are, so the third is what is left over when the time is up; totals are exact, at most a few seconds late.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

#: Values of libzmq's ZMQ_EVENT_… (part of its ABI).
ACCEPTED: Final = 0x0020
ACCEPT_FAILED: Final = 0x0040
DISCONNECTED: Final = 0x0200
FAILED_NO_DETAIL: Final = 0x0800
SUCCEEDED: Final = 0x1000
FAILED_PROTOCOL: Final = 0x2000
FAILED_AUTH: Final = 0x4000
EVENTS: Final = ACCEPTED | ACCEPT_FAILED | DISCONNECTED | FAILED_NO_DETAIL | SUCCEEDED | FAILED_PROTOCOL | FAILED_AUTH

#: ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: what was encrypted for another key than ours, or with another than was shown.
_CRYPTOGRAPHIC: Final = 0x11000001


class Handshakes:
    """The connections of one listening socket. `limit_s`: the longest that a handshake can take."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._open_since: deque[float] = deque()
        self.connections = 0
        self.accepted_total = 0
        self.denied_total: Counter[str] = Counter()

    def event(self, event: int, value: int, now_s: float) -> None:
        """Take note of an event of the monitor."""
        if event == ACCEPTED:
            self.connections += 1
            self.accepted_total += 1
            self._open_since.append(now_s)
        elif event == DISCONNECTED:
            self.connections -= 1
        elif event == ACCEPT_FAILED:
            self.denied_total["not_accepted"] += 1
        elif event == SUCCEEDED:
            self._ended()
        elif event == FAILED_AUTH:
            self._ended()  # counted with its reason by whoever answered ZAP
        elif event == FAILED_PROTOCOL:
            self._ended()
            self.denied_total["wrong_keys" if value == _CRYPTOGRAPHIC else "protocol_error"] += 1
        elif event == FAILED_NO_DETAIL:
            self._ended()
            self.denied_total["handshake_not_finished"] += 1

    def tick(self, now_s: float) -> None:
        """Count those that ended without a word."""
        while self._open_since and now_s - self._open_since[0] > self._limit_s:
            self._open_since.popleft()
            self.denied_total["not_zmtp"] += 1

    def _ended(self) -> None:
        if self._open_since:
            self._open_since.popleft()
