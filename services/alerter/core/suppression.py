"""What was held back and why: counted and shown, so that silence is never mistaken for health.

A condition that stays held back is counted once an hour of its own time for each reason, not once a batch: the count then tells
conditions, whatever the load. Counts are kept by the hour for a day.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from services.alerter.core.model import Candidate, Fingerprint, Reason
from shared.timespan import HOUR_MS

#: How long counts are kept and shown.
KEPT_HOURS: Final = 24
#: How long a condition that is held back is listed after it was last true.
LISTED_MS: Final = HOUR_MS
NEVER: Final = -1
#: Conditions that are listed; beyond it the one that was quiet longest goes.
MAX_LISTED: Final = 1_000
#: Reasons for which a condition is listed: something is wrong and no alert says so.
LISTED: Final = (Reason.RATE_LIMITED, Reason.RECENTLY_RESOLVED)


@dataclass(frozen=True, slots=True)
class Held:
    """A condition that would be an alert: since when it is held back, and when it was last true."""

    candidate: Candidate
    reason: Reason
    first_ms: int
    last_ms: int


class Suppression:
    """Counts by hour and reason, and the conditions that are held back now."""

    def __init__(self) -> None:
        self.hours: dict[int, Counter[Reason]] = {}
        self.listed: dict[Fingerprint, Held] = {}
        self.counted: dict[tuple[Fingerprint, Reason], int] = {}

    def hold(self, candidate: Candidate, reason: Reason, now_ms: int) -> bool:
        """A candidate was held back; whether it was counted (or its hour was already)."""
        if reason in LISTED:
            self._list(candidate, reason)
        key, hour = (candidate.fingerprint, reason), candidate.ts_ms // HOUR_MS
        if self.counted.get(key, NEVER) >= hour:
            return False
        self.counted[key] = hour
        self.count(reason, now_ms)
        return True

    def count(self, reason: Reason, now_ms: int) -> None:
        """Count something that has no fingerprint."""
        self.hours.setdefault(now_ms // HOUR_MS, Counter())[reason] += 1

    def became_alert(self, fingerprint: Fingerprint) -> None:
        """It is held back no longer."""
        self.listed.pop(fingerprint, None)

    def totals(self) -> dict[str, int]:
        """How much was held back in the last day, by reason."""
        total: Counter[Reason] = Counter()
        for counts in self.hours.values():
            total.update(counts)
        return {reason.value: n for reason, n in sorted(total.items())}

    def tick(self, now_ms: int) -> None:
        """Drop what is too old to be shown."""
        oldest = now_ms // HOUR_MS - KEPT_HOURS
        self.hours = {hour: counts for hour, counts in self.hours.items() if hour > oldest}
        self.listed = {key: held for key, held in self.listed.items() if held.last_ms > now_ms - LISTED_MS}
        self.counted = {key: hour for key, hour in self.counted.items() if hour > oldest}

    def _list(self, candidate: Candidate, reason: Reason) -> None:
        known = self.listed.pop(candidate.fingerprint, None)
        first_ms = known.first_ms if known else candidate.ts_ms
        last_ms = max(candidate.ts_ms, known.last_ms if known else 0)
        self.listed[candidate.fingerprint] = Held(candidate, reason, first_ms, last_ms)
        while len(self.listed) > MAX_LISTED:
            del self.listed[next(iter(self.listed))]
