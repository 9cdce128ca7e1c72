"""What was held back and why: counted and shown, so that silence is never mistaken for health.

A condition that stays held back is counted once a minute of its own time for each reason, not once a batch: the count then means
minutes, whatever the load. Counts are kept by the hour for a day.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from services.alerter.core.model import Candidate, Fingerprint, Reason

#: One condition and reason counts once in this span.
EPISODE_MS: Final = 60 * 1000
HOUR_MS: Final = 60 * 60 * 1000
#: How long counts are kept and shown.
KEPT_HOURS: Final = 24
#: How long a condition that is held back is listed after it was last true.
LISTED_MS: Final = HOUR_MS
#: Conditions that are listed; beyond it the one that was quiet longest goes.
MAX_LISTED: Final = 1_000
#: Reasons for which a condition is listed: something is wrong and no alert says so.
LISTED: Final = (Reason.RATE_LIMITED, Reason.RECENTLY_RESOLVED)


@dataclass(frozen=True, slots=True)
class Held:
    """A condition that would be an alert. `minutes` counts its minutes (at least one call over the threshold in each)."""

    candidate: Candidate
    reason: Reason
    first_ms: int
    last_ms: int
    minutes: int


class Suppression:
    """Counts by hour and reason, and the conditions that are held back now."""

    def __init__(self) -> None:
        self.hours: dict[int, Counter[Reason]] = {}
        self.listed: dict[Fingerprint, Held] = {}
        self.counted: dict[tuple[Fingerprint, Reason], int] = {}

    def hold(self, candidate: Candidate, reason: Reason, now_ms: int) -> bool:
        """A candidate was held back; whether it was counted (or its minute was already)."""
        key = (candidate.fingerprint, reason)
        minute = candidate.ts_ms // EPISODE_MS
        if self.counted.get(key) == minute:
            return False
        self.counted[key] = minute
        self.count(reason, now_ms)
        if reason in LISTED:
            self._list(candidate, reason)
        return True

    def count(self, reason: Reason, now_ms: int) -> None:
        """Count something that has no fingerprint's minute."""
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
        recent = (now_ms - LISTED_MS) // EPISODE_MS
        self.counted = {key: minute for key, minute in self.counted.items() if minute > recent}

    def _list(self, candidate: Candidate, reason: Reason) -> None:
        known = self.listed.pop(candidate.fingerprint, None)
        first_ms = known.first_ms if known else candidate.ts_ms
        minutes = known.minutes + 1 if known else 1
        self.listed[candidate.fingerprint] = Held(candidate, reason, first_ms, candidate.ts_ms, minutes)
        while len(self.listed) > MAX_LISTED:
            del self.listed[next(iter(self.listed))]
