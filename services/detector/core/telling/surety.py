"""How sure an anomaly may be said to be: no surer than its tool's history allows.

A confidence is what the statistics say of a known past. What a past of n calls has not shown may still be usual: its rate is
known to be below 3/n and no more (the rule of three; Hanley and Lippman-Hand 1983). What is ranked and merged is the detector's
own confidence; this is what a reader is told. Pure.
"""

from __future__ import annotations

from typing import Final

from services.detector.core.events import Event
from services.detector.core.metrics import MINUTE_MS, NAMED_METHODS
from services.detector.core.telling.phrases import is_of_server
from services.detector.core.telling.words import counted
from shared.timespan import span_text

#: Numerator of the rule of three; calls of a minute that say no more than so many.
RULE_OF_THREE: Final = 3.0
CALLS_A_MINUTE: Final = 20.0
#: History below which a reader is told how much there is.
LITTLE_CALLS: Final = 200
LITTLE_MS: Final = 30 * MINUTE_MS


def confidence_of(event: Event) -> float | None:
    """The confidence that is told, 0 … 1; None of a method that claims none."""
    if event.method in NAMED_METHODS:
        return None
    known = history_of(event)
    if known is None:
        return event.confidence
    calls, since_ms = known
    counts = min(calls, CALLS_A_MINUTE * max(1.0, (event.start_ms - since_ms) / MINUTE_MS))
    return min(event.confidence, round(1.0 - RULE_OF_THREE / (counts + RULE_OF_THREE), 4))


def little_history(event: Event) -> str | None:
    """`only 22 calls of history`, where there is little."""
    known = history_of(event)
    if known is None:
        return None
    calls, since_ms = known
    if calls < LITTLE_CALLS:
        return f"only {counted(calls, 'call')} of history"
    span_ms = event.start_ms - since_ms
    return (
        f"only {span_text(max(MINUTE_MS, span_ms // MINUTE_MS * MINUTE_MS))} of history"
        if span_ms < LITTLE_MS
        else None
    )


def history_of(event: Event) -> tuple[int, int] | None:
    """Calls that an event was judged by, and since when any are known (epoch ms); None where that is not known, or not by calls:
    a server has many tools, and calls that come or not are no values.
    """
    fired = event.evidence.get("fired")
    if event.metric == "calls" or is_of_server(event) or not isinstance(fired, dict):
        return None
    calls, since_ms = fired.get("baselineCalls"), fired.get("baselineSinceMs")
    return (calls, since_ms) if type(calls) is int and type(since_ms) is int else None
