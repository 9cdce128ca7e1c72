"""Lasting changes: the level before and the level now, which say more of them than the worst call does.

Owns which events are told by their level, and what that is. Pure reading; an event keeps its level in its evidence, for the calls
it is read off go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from services.detector.core.events import Event
from services.detector.core.metrics import (
    METRICS,
    MINUTE_MS,
    NAMED_METHODS,
    RESOURCE_SPIKE,
    RESPONSE_TIME_SHIFT,
    RESPONSE_TIME_SPIKE,
)
from services.detector.core.state.series import SeriesState
from services.detector.core.view import minutes_of

#: A change that went on for so long is a level of its own, if so large a share of its calls lies outside.
LASTING_MS: Final = 30 * MINUTE_MS
MOST_CALLS: Final = 0.5
#: The level now is that of the latest calls of this span, and of so many at least.
LATEST_MS: Final = 60 * MINUTE_MS
FEWEST_CALLS: Final = 3
#: How an event ends whose level has become the usual one.
NEW_USUAL: Final = "the new normal"
#: What a resource that rose and stayed is called; its type is that of a spike.
RESOURCE_STEP: Final = "resource_step"
#: A level is another one from so many times the one before on.
LEAST_TIMES: Final = 1.05


@dataclass(frozen=True, slots=True)
class Level:
    """Medians before, now (or at its end), and of the calls after it, as far as there were any; in the metric's unit."""

    before: float
    now: float
    after: float | None = None

    @property
    def times(self) -> float:
        """now / before."""
        return self.now / self.before

    @property
    def stays(self) -> bool:
        """Whether what came after it was on the new level still."""
        return self.after is not None and self.after >= math.sqrt(self.before * self.now)

    def as_map(self) -> dict[str, float]:
        """Plain values for the evidence."""
        found = {"before": self.before, "now": self.now} | ({} if self.after is None else {"after": self.after})
        return {name: float(f"{value:.6g}") for name, value in found.items()}


def is_lasting(event: Event) -> bool:
    """Whether an event is a change of level: a shift, a step of a resource, or slow calls that became the usual ones."""
    if event.method in NAMED_METHODS or event.direction == "below":
        return False
    if event.type == RESPONSE_TIME_SHIFT:
        return True
    if event.type == RESPONSE_TIME_SPIKE:
        return event.ended == NEW_USUAL
    mostly = event.points >= MOST_CALLS * event.calls
    lasted = event.last_ms - event.start_ms >= LASTING_MS
    return event.type == RESOURCE_SPIKE and mostly and (lasted or event.ended == NEW_USUAL)


def may_last(event: Event) -> bool:
    """Whether an event's level is worth a look: how it ends is not known while it is looked at."""
    return event.method not in NAMED_METHODS and event.last_ms - event.start_ms >= LASTING_MS // 2


def is_new_usual(event: Event) -> bool:
    """Whether an event is over because its level stayed."""
    level = level_of(event)
    return event.end_ms is not None and event.ended == NEW_USUAL and level is not None and level.stays


def is_step(event: Event) -> bool:
    """Whether it is a resource that rose and stayed."""
    return event.type == RESOURCE_SPIKE and is_lasting(event)


def kind_of(event: Event) -> str:
    """What an event is called: its type, unless that says less of a lasting change."""
    if is_step(event):
        return RESOURCE_STEP
    return RESPONSE_TIME_SHIFT if event.type == RESPONSE_TIME_SPIKE and is_lasting(event) else event.type


def measure(event: Event, series: SeriesState) -> Level | None:
    """The level of a lasting event as the series shows it; None when it shows none."""
    metric = next((j for j, known in enumerate(METRICS) if known.name == event.metric), None)
    if metric is None or metric >= series.metrics or not event.median > 0:
        return None
    since = max(event.start_ms, event.last_ms - LATEST_MS)
    now = _median(series, metric, since, event.last_ms)
    if now is None or now < math.sqrt(event.median * max(_known(event), event.median)):
        now = _known(event)  # it is over before it is known to be: its level is what it was
    if now < LEAST_TIMES * event.median or not math.isfinite(now):
        return None
    return Level(event.median, now, _median(series, metric, event.last_ms + 1, event.last_ms + LATEST_MS))


def _known(event: Event) -> float:
    """The level that was told of it last, 0 when none was."""
    kept: Any = event.evidence.get("level")
    now = kept.get("now") if isinstance(kept, dict) else None
    return float(now) if isinstance(now, int | float) else 0.0


def _median(series: SeriesState, metric: int, start_ms: int, end_ms: int) -> float | None:
    """Of the calls in a span, or of its minutes' means where not all of the calls are held."""
    _, x, _ = series.calls.between(start_ms, end_ms)
    values = x[metric][np.isfinite(x[metric])]
    if len(values) < FEWEST_CALLS or not series.calls.covers(start_ms):
        values = minutes_of(series, metric, -(-start_ms // MINUTE_MS), end_ms // MINUTE_MS).mean
    return float(np.median(values)) if len(values) >= FEWEST_CALLS else None


def level_of(event: Event) -> Level | None:
    """The level that a lasting event's evidence holds."""
    kept: Any = event.evidence.get("level")
    if not isinstance(kept, dict) or not is_lasting(event):
        return None
    before, now = kept.get("before"), kept.get("now")
    if isinstance(before, int | float) and isinstance(now, int | float) and before > 0:
        after = kept.get("after")
        return Level(before, now, after if isinstance(after, int | float) else None)
    return None
