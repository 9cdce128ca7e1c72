"""Figures that moved with a member of an incident without being an anomaly themselves, as candidates for its cause."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from services.detector.core.events import Event
from services.detector.core.incidents.candidates import (
    FADING_MS,
    LEAK_FADING_MS,
    SOON_MS,
    Cause,
    since_of,
    weighed,
    whose,
)
from services.detector.core.incidents.evidence import Change, changes_in
from services.detector.core.metrics import MINUTE_MS
from services.detector.core.telling.phrases import effect_words
from services.detector.core.telling.words import UNITS, WORDS, brief, clock, lead

#: How often a figure that moved is a cause and not a symptom.
_MOVES: Final = {"calls_per_minute": 0.85, "cpu": 0.75, "memory": 0.75, "disk_io": 0.75, "error_rate": 0.5}


def among_moved(members: Sequence[Event]) -> Iterator[Cause]:
    """Each figure that moved with a member, once a series."""
    anomalous = {(e.series, "calls_per_minute" if e.metric == "calls" else e.metric) for e in members}
    seen: set[tuple[Any, str]] = set()
    for event in members:
        for name, change in changes_in(event.evidence).items():
            key = (event.series, name)
            if name not in _MOVES or key in anomalous or key in seen or not change.moved(name):
                continue
            if event.metric == "calls" or (name == "error_rate" and event.metric != "response_time"):
                continue
            seen.add(key)
            yield _move(event, name, change, members)


def _move(event: Event, name: str, change: Change, members: Sequence[Event]) -> Cause:
    strength = min(1.0, 0.6 + 0.2 * math.log2(min(change.times, 1e6)))
    first = 0.3 if change.since_ms is None else _move_first(name, since_of(event) - change.since_ms)
    reach = sum(_shows(member, name) for member in members) / len(members)
    score = strength * weighed(first, _MOVES[name], reach)
    since_ms = since_of(event) if change.since_ms is None else min(change.since_ms, since_of(event))
    return Cause("", name, since_ms, score, 0.0, _move_words(event, name, change, members))


def _move_first(name: str, early_ms: int) -> float:
    """How well it leads. A minute's figure is dated by the minute's beginning; what is much earlier had time to show before."""
    if early_ms < 2 * MINUTE_MS:
        return 0.6 if early_ms >= -MINUTE_MS else 0.1
    fading_ms = LEAK_FADING_MS if name == "memory" else FADING_MS
    return math.exp(-max(0, early_ms - SOON_MS) / fading_ms)


def _shows(member: Event, name: str) -> bool:
    change = changes_in(member.evidence).get(name)
    return change is not None and change.moved(name)


def _move_words(event: Event, name: str, change: Change, members: Sequence[Event]) -> str:
    unit = UNITS.get(name, "a minute")
    rose = f"{WORDS[name]} of {whose(event, members)} rose from {brief(change.before)} to {brief(change.during)} {unit}"
    if change.since_ms is None or since_of(event) - change.since_ms < 2 * MINUTE_MS:
        return f"{rose} as its calls {effect_words(event)}"
    early = lead(since_of(event) - change.since_ms)
    return f"{rose} since {clock(change.since_ms, event.last_ms)}, {early} before its calls {effect_words(event)}"
