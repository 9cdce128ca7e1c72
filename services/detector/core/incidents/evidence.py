"""What else moved while an anomaly went on, and since when: failures and what they said, resources, load, other tools of the
same server. Pure reading.

Everything compares the anomaly's own time with the hours before it; nothing is said where nothing was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.events import Event
from services.detector.core.incidents.messages import Said
from services.detector.core.incidents.messages import as_map as said_map
from services.detector.core.incidents.ordinary import CALLS, stretches_before, usual_at
from services.detector.core.kernels.fold import MEAN, N
from services.detector.core.metrics import ERROR_RATE_SPIKE, HISTORY_MS, METRICS, MINUTE_MS
from services.detector.core.state.series import SeriesState
from services.detector.core.telling.levels import Level, may_last, measure
from services.detector.core.view import Float64, Int64, combined, minutes_of

#: What is compared with.
BEFORE_MS: Final = 6 * 3_600_000
#: Other tools whose anomalies began within this of ours count as the same trouble.
TOGETHER_MS: Final = 10 * MINUTE_MS
#: Events of a server that are looked at, so that a server of which everything is slow is not looked at for ever.
MAX_LOOKED_AT: Final = 500
#: Siblings that are named.
MAX_SIBLINGS: Final = 5
#: What rises every morning: more than usual at that hour, and than busy stretches have, explains something.
FOLLOWS_THE_DAY: Final = (CALLS, "cpu", "disk_io")
#: How many times more it has to be on a tool's first day: what its mornings are like is not known.
FIRST_DAY: Final = 2.0
#: Calls of its first minute that tell what was usual of a tool that has no whole minute yet.
FEWEST_BEFORE: Final = 10
#: Minutes before an event that tell how often a tool is called.
KNOWN_MINUTES: Final = 5
#: How long before an event something may have begun to move that explains it, and the share of its rise that says it has, if
#: its minutes are not as restless anyway.
LEAD_MS: Final = 60 * MINUTE_MS
RISEN: Final = 0.15
#: Minutes of which most have to have risen, so that it is no chance.
LASTING_MINUTES: Final = 3
#: Deviations that more calls than usual must be more by: three are exceeded in one minute of seven hundred.
LUCK: Final = 4.0
#: A figure moved when it is this many times what it was, and differs by this much in its unit.
MOVED: Final = {
    "error_rate": (2.0, 5.0),
    "cpu": (1.4, 10.0),
    "memory": (1.25, 16.0),
    "disk_io": (2.0, 256.0),
    CALLS: (2.0, 1.0),
    "response_time": (1.5, 20.0),
}


@dataclass(frozen=True, slots=True)
class Change:
    """A figure before and during; `since_ms`: the minute in which it rose, None when it did not or cannot be told. `chance`: so
    few calls that they may well differ by so much, or no more than is usual at that hour or in busy stretches.
    """

    before: float
    during: float
    since_ms: int | None = None
    chance: bool = False

    @property
    def times(self) -> float:
        """during / before."""
        return self.during / self.before if self.before > 0 else math.inf if self.during > 0 else 1.0

    def rose(self, name: str) -> bool:
        """Whether the figure of that name rose by enough to speak of, if it was no chance."""
        times, least = MOVED[name]
        return self.times >= times and self.during - self.before >= least

    def moved(self, name: str) -> bool:
        """Whether it did, and it was none."""
        return not self.chance and self.rose(name)


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
    is any measurement, during it or before; one that is not in `changes` as well has nothing to be compared with. `said`: what
    its failing calls said, of one that fails more than usual. `level`: of a lasting change.
    """

    changes: dict[str, Change]
    siblings: tuple[Sibling, ...]
    first: bool
    tools: int
    measured: frozenset[str] = frozenset()
    said: tuple[Said, ...] = ()
    level: Level | None = None

    def as_map(self) -> dict[str, Any]:
        """Plain values for answers and the database."""
        found = {
            "changes": {
                name: {"before": _round(c.before), "during": _round(c.during)}
                | ({} if c.since_ms is None else {"sinceMs": c.since_ms})
                | ({"chance": True} if c.chance else {})
                for name, c in self.changes.items()
            },
            "siblings": [asdict(s) for s in self.siblings],
            "first": self.first,
            "otherTools": self.tools,
            "measured": sorted(self.measured),
        }
        found |= {"said": [said_map(s) for s in self.said]} if self.said else {}
        return found | ({"level": self.level.as_map()} if self.level else {})


def changes_in(evidence: dict[str, Any]) -> dict[str, Change]:
    """The changes that an event's evidence holds; what cannot be read is passed over."""
    found: dict[str, Change] = {}
    changes = evidence.get("changes")
    for name, change in changes.items() if isinstance(changes, dict) else ():
        if name not in MOVED or not isinstance(change, dict):
            continue
        before, during, since_ms = (change.get(key) for key in ("before", "during", "sinceMs"))
        if isinstance(before, int | float) and isinstance(during, int | float):
            since = since_ms if type(since_ms) is int else None
            found[name] = Change(before, during, since, change.get("chance") is True)
    return found


def gather(
    event: Event, series: SeriesState, events: Iterator[Event], tools: int, said: Sequence[Said] = ()
) -> Evidence:
    """The evidence around an event, as far as the series' history goes; `events`: those of its server, latest first; `tools`: how
    many tools of the server are watched; `said`: what failing calls said.
    """
    siblings = sorted(
        (Sibling(e.tool, e.type, e.start_ms) for e in islice(events, MAX_LOOKED_AT) if is_sibling(event, e)),
        key=lambda s: (s.start_ms, s.tool),
    )
    first = all(s.start_ms >= event.start_ms for s in siblings)
    changes, named = _changes(event, series), tuple(siblings[:MAX_SIBLINGS])
    level = measure(event, series) if may_last(event) else None
    # What a stray failure says is no evidence of anything else.
    failed = event.type == ERROR_RATE_SPIKE or ("error_rate" in changes and changes["error_rate"].moved("error_rate"))
    return Evidence(changes, named, first, tools - 1, _measured(event, series), tuple(said) if failed else (), level)


def is_sibling(event: Event, other: Event) -> bool:
    """Whether another event is of another tool of the server and began at about the same time."""
    return (
        other.server == event.server
        and other.tool != event.tool
        and other.stored
        and abs(other.start_ms - event.start_ms) <= TOGETHER_MS
    )


def _changes(event: Event, series: SeriesState) -> dict[str, Change]:
    first = event.start_ms // MINUTE_MS
    # The minute in which it began is part of both and therefore of neither, unless there is no other.
    since = (event.start_ms - BEFORE_MS) // MINUTE_MS
    changes: dict[str, Change] = {}
    for j in range(series.metrics):
        during, before = _mean_during(event, series, j), _mean_before(event, series, j, since)
        if not math.isnan(during) and not math.isnan(before):
            changes[METRICS[j].name] = _judged(METRICS[j].name, Change(before, during), event, series)
    rows_before = series.minutes.between(since, first - 1)
    calls_before = float(series.moments[rows_before, 0, 0].sum())
    failed = _failed_just_before(event, series)
    if calls_before:
        failed = 100.0 * float(series.failures[rows_before].sum()) / calls_before
    if not math.isnan(failed):
        changes["error_rate"] = _dated("error_rate", Change(failed, _failed_during(event, series)), event, series)
    if calls_before:
        load = _load(event, series, calls_before, max(series.first_ts, since * MINUTE_MS))
        if load is not None:
            changes[CALLS] = _judged(CALLS, load, event, series)
    return changes


def _load(event: Event, series: SeriesState, calls_before: float, since_ms: int) -> Change | None:
    """Calls a minute in the whole minutes before an event, and during it; None when it is not known what is usual."""
    first, last = event.start_ms // MINUTE_MS, max(event.start_ms, event.last_ms) // MINUTE_MS
    known = first - since_ms / MINUTE_MS
    if known < KNOWN_MINUTES:
        return None
    a_minute, minutes = calls_before / known, last - first + 1
    during = float(series.moments[series.minutes.between(first, last), 0, N].sum())
    # Minutes with a slow call are rather those with many calls, so they must be more by far.
    few = during <= a_minute * minutes + LUCK * math.sqrt(a_minute * minutes + 1.0)
    return Change(a_minute, during / minutes, chance=few)


def _judged(name: str, change: Change, event: Event, series: SeriesState) -> Change:
    """The change against what is usual at that hour and in busy stretches, of a figure that follows the day and is not what the
    event is about; with the minute in which it began.
    """
    own = event.metric == ("calls" if name == CALLS else name)
    if own or name not in FOLLOWS_THE_DAY or not change.moved(name):
        return _dated(name, change, event, series)
    at_hour = usual_at(series, name, event.start_ms, event.last_ms)
    known = stretches_before(series, name, event.start_ms, (event.last_ms - event.start_ms) // MINUTE_MS + 1)
    if known is None:
        return _dated(name, replace(change, chance=name == CALLS), event, series)
    usual = max(change.before, at_hour, known.usual)
    times = MOVED[name][0] * (FIRST_DAY if event.start_ms - series.first_ts < HISTORY_MS else 1.0)
    return _dated(name, Change(usual, change.during, chance=change.during < times * known.busy), event, series)


def _dated(name: str, change: Change, event: Event, series: SeriesState) -> Change:
    """The change with the minute in which it began, if it is one worth speaking of."""
    if not change.moved(name):
        return change
    first, last = (event.start_ms - LEAD_MS) // MINUTE_MS, event.last_ms // MINUTE_MS
    start, values = course(series, name, first, last)
    early = values[start < event.start_ms - LEAD_MS // 2]
    spread = float(early.std()) if len(early) else math.inf
    rise = change.during - change.before
    limit = change.before + max(RISEN * rise, min(0.5 * rise, 3.0 * spread))
    return Change(change.before, change.during, _onset(start, values >= limit, event.start_ms))


def course(series: SeriesState, name: str, first: int, last: int) -> tuple[Int64, Float64]:
    """A figure by minute (numbers first … last), only where it was measured: start ms and value."""
    rows = series.minutes.between(first, last)
    start, calls = series.minutes.index[rows] * MINUTE_MS, series.moments[rows, 0, N]
    if name == CALLS:
        return start, calls
    if name == "error_rate":
        some = calls > 0
        return start[some], 100.0 * series.failures[rows][some] / calls[some]
    metric = next(j for j, known in enumerate(METRICS) if known.name == name)
    if metric >= series.metrics:
        return start[:0], np.empty(0)
    some = series.moments[rows, metric, N] > 0
    return start[some], series.moments[rows, metric, MEAN][some]


def _onset(start: Int64, risen: NDArray[np.bool_], event_ms: int) -> int | None:
    """The first of the minutes around the event's start, without a break of two, in which the figure had risen and not just for
    that minute.
    """
    later = np.flatnonzero(risen & (start > event_ms - 2 * MINUTE_MS)).tolist()
    at = next(
        (i for i in later if 2 * risen[i : i + LASTING_MINUTES].sum() > len(risen[i : i + LASTING_MINUTES])), None
    )
    if at is None:
        return None
    while at > 0 and risen[max(0, at - 2) : at].any():
        at -= 1 if risen[at - 1] else 2
    return int(start[at])


def _measured(event: Event, series: SeriesState) -> frozenset[str]:
    since, last = (event.start_ms - BEFORE_MS) // MINUTE_MS, event.last_ms // MINUTE_MS
    seen = (j for j in range(series.metrics) if combined(minutes_of(series, j, since, last)).n)
    return frozenset(METRICS[j].name for j in seen)


def _mean_before(event: Event, series: SeriesState, metric: int, since: int) -> float:
    """The mean of the minutes since one; of a tool that is younger, that of the calls just before the event. NaN: not known."""
    minutes = combined(minutes_of(series, metric, since, event.start_ms // MINUTE_MS - 1))
    if minutes.n:
        return minutes.mean
    _, x, _ = _just_before(event, series)
    measured = x[metric][np.isfinite(x[metric])]
    return float(measured.mean()) if len(measured) >= FEWEST_BEFORE else math.nan


def _failed_just_before(event: Event, series: SeriesState) -> float:
    _, _, ok = _just_before(event, series)
    return 100.0 * float((ok == 0).mean()) if len(ok) >= FEWEST_BEFORE else math.nan


def _just_before(event: Event, series: SeriesState) -> tuple[Int64, Float64, NDArray[np.uint8]]:
    """The calls of the minute in which an event began that came before it."""
    return series.calls.between(event.start_ms // MINUTE_MS * MINUTE_MS, event.start_ms - 1)


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
