"""Events: one anomaly each, however many calls it spans, from its first abnormal call to its end.

Owns the record, its identity and the book of those that are open or recent. Knows nothing of how an event is found
(`engine`, `sweep`, `methods`), worded (`explain`) or stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal

from services.detector.core.metrics import ANOMALY_TYPES, GAP_MS, HISTORY_MS, LEVELS, SIGNAL, STORED_LEVEL
from shared.batch import Series
from shared.timespan import day_of

Severity = Literal["info", "warning", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")

#: The level of what is part of another event: no sensitivity reports it.
TOLD_ELSEWHERE: Final = 0
#: Events that ended longer ago leave the book; the database keeps them.
BOOK_MS: Final = 2 * HISTORY_MS
#: How an event ended whose times were read off a clock that was set back since: what is then at that time is another one.
SET_BACK: Final = "the clock was set back"
#: In the evidence of an event of failures that began with a tool's first calls.
SINCE_FIRST: Final = "sinceFirstCalls"
#: In the evidence of an event of failures: since when medium reports it (epoch ms).
TOLD: Final = "toldMs"
#: Events in the book; beyond it those that ended first leave.
MAX_BOOK: Final = 20_000


@dataclass(slots=True)
class Event:
    """An anomaly. Times are epoch ms, values in `unit`.

    value: the worst seen (of failures and shifts: the rate or level during the event). typical: the mean of its abnormal
    calls. median, lower, upper: what was usual before, and its band. points: abnormal calls; calls: all calls from the first
    abnormal one to the last. level: 1 + index into metrics.SENSITIVITIES of the least sensitive setting that reports it.
    raised: the worst severity the alerter was, or is being, told of. written: the last line in the anomaly files, `open` or
    `close`. found_as: the type it had when found, if it has another now (a spike that lasts is a shift). incident: what it is
    part of (`incidents`).
    """

    id: str
    server: str
    tool: str
    type: str
    metric: str
    unit: str
    method: str
    start_ms: int
    last_ms: int
    peak_ms: int
    value: float
    typical: float
    median: float
    lower: float
    upper: float
    points: int
    calls: int
    level: int
    confidence: float
    severity: Severity = "info"
    end_ms: int | None = None
    ended: str = ""
    recommendations: list[str] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict)
    raised: str = ""
    written: str = ""
    found_as: str = ""
    incident: dict[str, Any] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """The type it was first found as, by which it is known; what was found in a signal is one whatever its type."""
        return SIGNAL if self.method == SIGNAL else self.found_as or self.type

    @property
    def series(self) -> Series:
        """Whose event it is."""
        return Series(self.server, self.tool)

    @property
    def direction(self) -> Literal["above", "below"]:
        """On which side of the usual range its worst value lies."""
        return "below" if self.value < self.lower else "above"

    @property
    def since_first(self) -> bool:
        """Whether it is about a tool that failed from its first calls on: there is no usual rate that rose."""
        return self.evidence.get(SINCE_FIRST) is True

    @property
    def stored(self) -> bool:
        """Whether it belongs into the anomaly files; fainter ones only answer sensitive queries."""
        return self.level >= STORED_LEVEL

    def overlaps(self, start_ms: int, end_ms: int) -> bool:
        """Whether the event touches a span of time."""
        return self.start_ms <= end_ms and self.last_ms >= start_ms


def event_id(series: Series, anomaly_type: str, metric: str, start_ms: int) -> str:
    """The same event has the same id however often it is found: `anomaly-20251031-1f3a5c7e9b2d`."""
    text = "\0".join((series.server, series.tool, anomaly_type, metric, str(start_ms)))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"anomaly-{day_of(start_ms).replace('-', '')}-{digest}"


def to_record(event: Event) -> dict[str, Any]:
    """The event as a map of plain values, for the database."""
    return asdict(event)


def from_record(record: dict[str, Any]) -> Event:
    """The event of a map; fields it does not know are passed over.

    Raises: ValueError for a map that is none.
    """
    known = {f.name for f in fields(Event)}
    try:
        event = Event(**{name: value for name, value in record.items() if name in known})
    except TypeError as error:
        raise ValueError("not an event") from error
    if not _is_sound(event):
        raise ValueError("not an event")
    return event


def _is_sound(event: Event) -> bool:
    times = (event.start_ms, event.last_ms, event.peak_ms, event.level, event.points, event.calls)
    numbers = (event.value, event.typical, event.median, event.lower, event.upper, event.confidence)
    texts = (
        event.id,
        event.server,
        event.tool,
        event.metric,
        event.unit,
        event.method,
        event.ended,
        event.raised,
        event.written,
    )
    return (
        event.type in ANOMALY_TYPES
        and event.severity in SEVERITIES
        and all(type(t) is int for t in times)
        and all(isinstance(n, int | float) for n in numbers)
        and all(isinstance(t, str) for t in texts)
        and (event.end_ms is None or type(event.end_ms) is int)
        and isinstance(event.evidence, dict)
        and isinstance(event.incident, dict)
        and isinstance(event.recommendations, list)
    )


class Book:
    """Open events and those of the last two days, by id; at most one open a series, type and metric."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.open: dict[tuple[Series, str, str], str] = {}
        self._by_server: dict[str, dict[str, Event]] = {}
        #: Ids whose record changed since the last save.
        self.dirty: set[str] = set()

    def add(self, event: Event, *, dirty: bool = True) -> None:
        """Write a new event, or one read back, into the book."""
        self.events[event.id] = event
        self._by_server.setdefault(event.server, {})[event.id] = event
        if event.end_ms is None:
            self.open[event.series, event.origin, event.metric] = event.id
        if dirty:
            self.dirty.add(event.id)

    def open_event(self, series: Series, anomaly_type: str, metric: str) -> Event | None:
        """The event under way, if there is one."""
        found = self.open.get((series, anomaly_type, metric))
        return None if found is None else self.events[found]

    def of_server(self, server: str) -> Iterator[Event]:
        """The events of a server, latest found first."""
        return iter(reversed(self._by_server.get(server, {}).values()))

    def same(self, series: Series, anomaly_type: str, metric: str, start_ms: int, end_ms: int) -> Iterator[Event]:
        """The events of a series and type that overlap a span, or nearly: the same ones, found again."""
        return (e for e in self._near(series, metric, start_ms, end_ms) if e.origin == anomaly_type)

    def about(self, series: Series, metric: str, start_ms: int, end_ms: int) -> Iterator[Event]:
        """The events of a series' metric, whatever found them, that overlap a span, or nearly; not what is told elsewhere."""
        return (e for e in self._near(series, metric, start_ms, end_ms) if e.level > TOLD_ELSEWHERE)

    def _near(self, series: Series, metric: str, start_ms: int, end_ms: int) -> Iterator[Event]:
        for event in self.of_server(series.server):
            alike = (event.series, event.metric) == (series, metric)
            valid = event.ended != SET_BACK or event.start_ms == start_ms
            if alike and valid and event.overlaps(start_ms - GAP_MS, end_ms + GAP_MS):
                yield event

    def close(self, event: Event, end_ms: int, ended: str) -> None:
        """End an event."""
        event.end_ms = max(end_ms, event.start_ms)
        event.last_ms = max(event.last_ms, event.end_ms)
        event.ended = ended
        key = (event.series, event.origin, event.metric)
        if self.open.get(key) == event.id:
            del self.open[key]
        self.dirty.add(event.id)

    def rename(self, event: Event, anomaly_type: str, method: str) -> None:
        """Call an event under way by another name, as which and by which method it is followed from now on."""
        self.open.pop((event.series, event.origin, event.metric), None)
        event.type, event.found_as, event.method = anomaly_type, "", method
        self.add(event)

    def remove(self, event: Event) -> None:
        """Take an event out of the book, as if it had never been there."""
        key = (event.series, event.origin, event.metric)
        if self.open.get(key) == event.id:
            del self.open[key]
        self._drop(event.id)

    def forget_before(self, ts_ms: int) -> None:
        """Let go of closed events that ended before; those not saved yet stay."""
        over = sorted((e.end_ms, e.id) for e in self.events.values() if e.end_ms is not None and e.id not in self.dirty)
        excess = len(self.events) - MAX_BOOK
        for place, (end_ms, name) in enumerate(over):
            if end_ms < ts_ms or place < excess:
                self._drop(name)

    def _drop(self, name: str) -> None:
        gone = self.events.pop(name)
        of_server = self._by_server[gone.server]
        del of_server[name]
        if not of_server:
            del self._by_server[gone.server]

    def select(self, start_ms: int, end_ms: int, sensitivity: str) -> Iterable[Event]:
        """The events of a span that a sensitivity reports."""
        wanted = LEVELS[sensitivity]
        return (e for e in self.events.values() if e.level >= wanted and e.overlaps(start_ms, end_ms))
