"""At most so many new alerts a server an hour, on the metrics' own time.

A critical alert breaks through while the alerts that fill the hour are not all critical, so that a storm of warnings hides no
outage; twice the limit is therefore the most. Time never runs backwards: late metrics count as of the newest alert.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from services.alerter.core.model import Severity

#: The span in which new alerts are counted.
RATE_SPAN_MS: Final = 60 * 60 * 1000


class Raised(NamedTuple):
    """One new alert that was counted."""

    ts_ms: int
    severity: Severity


class RateLimit:
    """The new alerts of the last hour, by server."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.raised: dict[str, list[Raised]] = {}

    def allows(self, server: str, severity: Severity, ts_ms: int) -> bool:
        """Whether the server may raise one more alert."""
        recent = self._recent(server, ts_ms)
        if len(recent) < self.limit:
            return True
        critical = sum(entry.severity is Severity.CRITICAL for entry in recent)
        return severity is Severity.CRITICAL and critical < self.limit

    def count(self, server: str, severity: Severity, ts_ms: int) -> None:
        """A new alert was raised."""
        recent = self._recent(server, ts_ms)
        at_ms = max([ts_ms, *(entry.ts_ms for entry in recent[-1:])])
        self.raised[server] = [*recent, Raised(at_ms, severity)]

    def forget_before(self, ts_ms: int) -> None:
        """Drop servers whose last alert is older."""
        self.raised = {server: entries for server, entries in self.raised.items() if entries[-1].ts_ms >= ts_ms}

    def forget_after(self, ts_ms: int) -> None:
        """Drop alerts that lie later: they were raised under a clock that has been set back since, and would fill the hour for
        as long as it was ahead.
        """
        kept = {server: [entry for entry in found if entry.ts_ms <= ts_ms] for server, found in self.raised.items()}
        self.raised = {server: entries for server, entries in kept.items() if entries}

    def _recent(self, server: str, ts_ms: int) -> list[Raised]:
        entries = self.raised.get(server, [])
        if not entries:
            return []
        now_ms = max(ts_ms, entries[-1].ts_ms)
        return [entry for entry in entries if entry.ts_ms > now_ms - RATE_SPAN_MS]
