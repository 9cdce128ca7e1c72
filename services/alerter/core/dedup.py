"""One open alert a condition and series; after it resolves none for an hour; a worse severity breaks through.

Returns the named reason. The memory of resolved alerts is the alert book's; nothing is kept here.
"""

from __future__ import annotations

from typing import Final

from services.alerter.core.model import Alert, Candidate, Reason
from services.alerter.core.signals import joins
from shared.timespan import HOUR_MS

#: A resolution that lies further ahead of what happens now was made by a clock that has been set back since.
MAX_AHEAD_MS: Final = HOUR_MS


def dedup(
    candidate: Candidate, opened: Alert | None, resolved: Alert | None, quiet_ms: int, *, stale: bool = False
) -> Reason:
    """What a candidate means, given the open alert of its fingerprint and the last resolved one, if any.

    RAISED (a new alert may be raised), UPGRADED, DEDUPLICATED, SAME_CAUSE (the open alert covers it), RECENTLY_RESOLVED or STALE.
    A stale candidate still tells that an open alert of its own condition was true at its time, but neither raises nor upgrades.
    """
    if opened is not None:
        joining = joins(opened.candidate, candidate)
        if stale:
            return Reason.STALE if joining else Reason.DEDUPLICATED
        if candidate.severity.worse_than(opened.severity):
            return Reason.UPGRADED
        return Reason.SAME_CAUSE if joining else Reason.DEDUPLICATED
    if stale:
        return Reason.STALE
    if resolved is None or resolved.resolved_ms is None or resolved.resolved_by_change:
        return Reason.RAISED
    within = -MAX_AHEAD_MS <= candidate.ts_ms - resolved.resolved_ms < quiet_ms
    if within and not candidate.severity.worse_than(resolved.severity):
        return Reason.RECENTLY_RESOLVED
    return Reason.RAISED
