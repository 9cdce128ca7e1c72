"""Why conditions did not become alerts, in words: the alerter's reasons as an answer and a report tell them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: The alerter's reasons; another one is named as it is.
REASONS: Final = {
    "deduplicated": "whose alert is open already",
    "same_cause": "of which another alert tells",
    "recently_resolved": "whose alert was resolved less than an hour ago",
    "rate_limited": "of servers that have had their alerts of the hour",
    "not_enough_calls": "with too few calls to judge",
    "stale": "seen too late to be current",
    "disabled": "whose threshold is switched off",
    "below_warning": "below warning",
    "already_seen": "decided before",
}


def held_back(numbers: Iterable[tuple[str, int]]) -> str:
    """`2 whose alert is open already; 1 below warning`, the most frequent reason first; a few reasons at most."""
    ranked = sorted(((reason, n) for reason, n in numbers if n > 0), key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{n:,} {REASONS.get(reason, _plain(reason))}" for reason, n in ranked[: len(REASONS)])


def _plain(reason: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else " " for c in reason)[:40].strip() or "other"
