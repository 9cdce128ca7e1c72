"""What else moved while an anomaly went on: failures, resources, load, other tools of the same server. Pure reading.

Everything compares the anomaly's own time with the hours before it; nothing is said where nothing was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from services.detector.core.events import Event
from services.detector.core.metrics import METRICS, MINUTE_MS
from services.detector.core.state.series import SeriesState
from services.detector.core.view import combined, minutes_of

#: What is compared with.
BEFORE_MS: Final = 6 * 3_600_000
#: Other tools whose anomalies began within this of ours count as the same trouble.
TOGETHER_MS: Final = 10 * MINUTE_MS
#: Events of a server that are looked at, so that a server of which everything is slow is not looked at for ever.
MAX_LOOKED_AT: Final = 200
#: Siblings that are named.
MAX_SIBLINGS: Final = 5


@dataclass(frozen=True, slots=True)
class Change:
    """A figure before and during."""

    before: float
    during: float

    @property
    def times(self) -> float:
        """during / before."""
        return self.during / self.before if self.before > 0 else math.inf if self.during > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Sibling:
    """Another tool of the server that was abnormal at about the same time."""

    tool: str
    type: str
    start_ms: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Changes by name (`response_time`, `cpu`, `memory`, `disk_io`: means; `error_rate` in %; `calls_per_minute`), and company.
    `first`: no sibling began before. `tools`: how many other tools of the server are watched. `measured`: metrics of which there
    is any measurement, during it or before; one that is not in `changes` as well has nothing to be compared with.
    """

    changes: dict[str, Change]
    siblings: tuple[Sibling, ...]
    first: bool
    tools: int
    measured: frozenset[str] = frozenset()

    def as_map(self) -> dict[str, Any]:
        """Plain values for answers and the database."""
        return {
            "changes": {
                name: {"before": _round(c.before), "during": _round(c.during)} for name, c in self.changes.items()
            },
            "siblings": [asdict(s) for s in self.siblings],
            "first": self.first,
            "otherTools": self.tools,
        }


def gather(event: Event, series: SeriesState, events: Iterator[Event], tools: int) -> Evidence:
    """The evidence around an event, as far as the series' history goes; `events`: those of its server, latest first; `tools`: how
    many tools of the server are watched.
    """
    siblings = sorted(
        (Sibling(e.tool, e.type, e.start_ms) for e in events if _is_sibling(event, e)),
        key=lambda s: (s.start_ms, s.tool),
    )
    first = all(s.start_ms >= event.start_ms for s in siblings)
    changes, named = _changes(event, series), tuple(siblings[:MAX_SIBLINGS])
    return Evidence(changes, named, first, tools - 1, _measured(event, series))


def _is_sibling(event: Event, other: Event) -> bool:
    return (
        other.server == event.server
        and other.tool != event.tool
        and other.stored
        and other.overlaps(event.start_ms - TOGETHER_MS, event.last_ms + TOGETHER_MS)
    )


def _changes(event: Event, series: SeriesState) -> dict[str, Change]:
    first, last = event.start_ms // MINUTE_MS, event.last_ms // MINUTE_MS
    # The minute in which it began is part of both and therefore of neither, unless there is no other.
    since = (event.start_ms - BEFORE_MS) // MINUTE_MS
    changes: dict[str, Change] = {}
    for j in range(series.metrics):
        during, before = _mean_during(event, series, j), combined(minutes_of(series, j, since, first - 1))
        if not math.isnan(during) and before.n:
            changes[METRICS[j].name] = Change(before.mean, during)
    rows_before = series.minutes.between(since, first - 1)
    calls_before = float(series.moments[rows_before, 0, 0].sum())
    if calls_before:
        failed = 100.0 * float(series.failures[rows_before].sum()) / calls_before
        changes["error_rate"] = Change(failed, _failed_during(event, series))
        rows = series.minutes.between(first, last)
        begun = max(series.first_ts, since * MINUTE_MS)
        minutes_before = max(1.0, (event.start_ms - begun) / MINUTE_MS)
        during_calls = float(series.moments[rows, 0, 0].sum())
        changes["calls_per_minute"] = Change(calls_before / minutes_before, during_calls / (last - first + 1))
    return changes


def _measured(event: Event, series: SeriesState) -> frozenset[str]:
    since, last = (event.start_ms - BEFORE_MS) // MINUTE_MS, event.last_ms // MINUTE_MS
    seen = (j for j in range(series.metrics) if combined(minutes_of(series, j, since, last)).n)
    return frozenset(METRICS[j].name for j in seen)


def _mean_during(event: Event, series: SeriesState, metric: int) -> float:
    ts, x, _ = series.calls.between(event.start_ms, event.last_ms)
    if len(ts) and series.calls.covers(event.start_ms):
        measured = x[metric][np.isfinite(x[metric])]
        return float(measured.mean()) if len(measured) else math.nan
    return combined(minutes_of(series, metric, event.start_ms // MINUTE_MS, event.last_ms // MINUTE_MS)).mean


def _failed_during(event: Event, series: SeriesState) -> float:
    ts, _, ok = series.calls.between(event.start_ms, event.last_ms)
    if len(ts) and series.calls.covers(event.start_ms):
        return 100.0 * float((ok == 0).mean())
    rows = series.minutes.between(event.start_ms // MINUTE_MS, event.last_ms // MINUTE_MS)
    calls = float(series.moments[rows, 0, 0].sum())
    return 100.0 * float(series.failures[rows].sum()) / calls if calls else 0.0


def _round(value: float) -> float:
    return float(f"{value:.6g}") if math.isfinite(value) else 0.0
