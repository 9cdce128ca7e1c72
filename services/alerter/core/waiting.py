"""Anomalies that came before their alert: held back, and named by the alert of the same condition once it opens.

Owns what is remembered of them and for how long. Why one is held back is `engine`'s to decide; in tests and files they are plain
values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from services.alerter.core.model import Fingerprint
from shared.names import ALL_TOOLS
from shared.timespan import HOUR_MS

#: How long before its alert an anomaly may have been true: what holds an alert back lasts an hour, and then it takes a while
#: until the condition is seen true again.
WAITS_MS: Final = 2 * HOUR_MS
#: Anomalies that are remembered; the oldest go first.
MAX_WAITING: Final = 1_000


class Waiting(NamedTuple):
    """One anomaly without an alert. key: under which its outcome is kept. ts_ms: when it was true, by the metrics' time."""

    key: str
    anomaly_id: str
    fingerprint: Fingerprint
    ts_ms: int


class WaitingAnomalies:
    """Anomalies that wait for their alert, oldest first."""

    def __init__(self) -> None:
        self.entries: dict[str, Waiting] = {}

    def add(self, one: Waiting) -> None:
        """Remember one that was held back."""
        self.entries[one.key] = one
        while len(self.entries) > MAX_WAITING:
            del self.entries[next(iter(self.entries))]

    def take(self, fingerprint: Fingerprint, ts_ms: int) -> list[Waiting]:
        """Those that an alert which was true at `ts_ms` is about; they wait no longer."""
        found = list(self._about(fingerprint, ts_ms))
        for one in found:
            del self.entries[one.key]
        return found

    def forget_before(self, ts_ms: int) -> None:
        """Drop what was true before."""
        self.entries = {key: one for key, one in self.entries.items() if one.ts_ms >= ts_ms}

    def _about(self, fingerprint: Fingerprint, ts_ms: int) -> Iterator[Waiting]:
        """An alert about a whole server is about its tools."""
        for one in self.entries.values():
            of_server = one.fingerprint._replace(tool=ALL_TOOLS) == fingerprint
            if (one.fingerprint == fingerprint or of_server) and abs(ts_ms - one.ts_ms) <= WAITS_MS:
                yield one
