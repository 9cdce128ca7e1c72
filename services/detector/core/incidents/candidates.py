"""What may have caused an incident: a candidate, and what is asked of each kind of them alike.

Where candidates come from say `candidates_members`, `candidates_moved` and `candidates_shared`; `causes` ranks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.detector.core.events import Event
from services.detector.core.metrics import (
    ERROR_RATE_SPIKE,
    MINUTE_MS,
    RESOURCE_LEAK,
    RESOURCE_SPIKE,
    RESPONSE_TIME_SHIFT,
    RESPONSE_TIME_SPIKE,
    THROUGHPUT_CHANGE,
)
from services.detector.core.telling.phrases import is_of_server, who
from services.detector.core.telling.words import quoted
from shared.timespan import iso

#: What makes a cause: first, of a kind that causes, reach.
_WEIGHTS: Final = (0.45, 0.35, 0.2)
#: How often a kind is the cause of what else is seen, not its symptom: judgement, not measurement.
FAILING: Final = 0.55
SLOW: Final = 0.4
_KINDS: Final = {
    RESOURCE_LEAK: 0.95,
    RESOURCE_SPIKE: 0.85,
    ERROR_RATE_SPIKE: FAILING,
    RESPONSE_TIME_SHIFT: 0.45,
    RESPONSE_TIME_SPIKE: SLOW,
}
_SURGE, _DROP = 0.9, 0.05
#: Two things that began within this of each other began together: when an anomaly began is known to a minute or two.
SAME_MS: Final = 150_000
#: An effect shows soon: what follows later than this is less and less likely to be one; of a leak it takes longer.
SOON_MS: Final = 10 * MINUTE_MS
FADING_MS: Final = 30 * MINUTE_MS
LEAK_FADING_MS: Final = 6 * 3_600_000


@dataclass(frozen=True, slots=True)
class Cause:
    """A candidate. `anomaly`: the member's id, empty when it is none. `confidence`: the score, less when others come near."""

    anomaly: str
    kind: str
    since_ms: int
    score: float
    confidence: float
    sentence: str

    def as_map(self) -> dict[str, Any]:
        """Plain values for answers and the database."""
        return {
            "anomaly": self.anomaly or None,
            "kind": self.kind,
            "since": iso(self.since_ms),
            "score": self.score,
            "confidence": self.confidence,
            "sentence": self.sentence,
        }


def since_of(event: Event) -> int:
    """When it began. What is found by comparing half hours began in the minute in which its figure rose."""
    if event.type not in (RESPONSE_TIME_SHIFT, THROUGHPUT_CHANGE):
        return event.start_ms
    changes = event.evidence.get("changes")
    rise = (
        changes.get("calls_per_minute" if event.metric == "calls" else event.metric)
        if isinstance(changes, dict)
        else None
    )
    since_ms = rise.get("sinceMs") if isinstance(rise, dict) else None
    return max(event.start_ms, since_ms) if type(since_ms) is int else event.start_ms


def kind_of(event: Event) -> float:
    if event.direction == "below" or event.value < event.median:
        return _DROP
    return _SURGE if event.type == THROUGHPUT_CHANGE else _KINDS[event.type]


def weighed(first: float, kind: float, reach: float) -> float:
    return _WEIGHTS[0] * first + _WEIGHTS[1] * kind + _WEIGHTS[2] * reach


def whose(event: Event, members: Sequence[Event]) -> str:
    several = any(member.server != event.server for member in members)
    if is_of_server(event):
        return who(event)
    return f"{quoted(event.tool)} of {quoted(event.server)}" if several else quoted(event.tool)
