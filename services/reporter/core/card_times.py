"""Since when, and until when, a recommendation's trouble is: what is over is not told as if it went on. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from services.reporter.core.anomaly_words import NEW_USUAL
from services.reporter.core.evidence import Evidence
from services.reporter.core.figures import clock_text, minute_text
from services.reporter.core.incident_cards import is_about
from services.reporter.core.recommendation import Recommendation


def with_ends(cards: Iterable[Recommendation], evidence: Evidence) -> list[Recommendation]:
    """The recommendations, those with their end whose anomalies are all over."""
    return [replace(card, until_ms=_until_ms(card, evidence)) for card in cards]


def when_words(card: Recommendation) -> str:
    """`since 2025-10-31 13:05 UTC`, or `2025-10-31 13:05 UTC to 13:16Z` of what is over; empty when it is not known."""
    if card.since_ms is None:
        return ""
    began = minute_text(card.since_ms)
    return f"since {began}" if card.until_ms is None else f"{began} to {clock_text(card.until_ms, card.since_ms)}"


def _until_ms(card: Recommendation, evidence: Evidence) -> int | None:
    about = [one for one in evidence.anomalies if is_about(card, one)]
    ends = [None if one.ended == NEW_USUAL else one.end_ms for one in about]
    over = [end for end in ends if end is not None]
    began = min((one.start_ms for one in about if one.start_ms is not None), default=None)
    dated_by_them = began is not None and began == card.since_ms
    return max(over) if dated_by_them and len(over) == len(ends) else None
