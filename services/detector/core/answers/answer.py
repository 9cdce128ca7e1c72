"""Answers to `anomalies` and `recent`: which events, in which order, how much of them, and what could be seen at all.

Pure. `anomalies` only reads; `auto` answers from the book of events (plus what a sweep now would add), the named methods look
at the series' past anew.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from services.detector.core.answers import methods
from services.detector.core.answers.past import Known, united
from services.detector.core.events import SEVERITIES, Event
from services.detector.core.incidents import incidents
from services.detector.core.kernels import spans
from services.detector.core.metrics import (
    HISTORY_MS,
    METHODS,
    MIN_BASELINE_CALLS,
    MIN_METHOD_CALLS,
    MINUTE_MS,
    SENSITIVITIES,
    is_below,
)
from services.detector.core.state.series import SeriesState
from services.detector.core.telling.explain import recommendations
from services.detector.core.telling.phrases import concerns_tool
from services.detector.core.telling.remarks import remark
from services.detector.core.watch import Watch
from shared.batch import Series
from shared.timespan import iso

Lock = Callable[[], AbstractContextManager[object]]

#: Nothing is known beyond the state.
NOTHING: Final = Known()
#: A window that ended longer ago is not swept once more.
LATELY_MS: Final = 10 * MINUTE_MS
#: A sweep this long ago is as good as one now: the service's interval, and the time that a sweep of many series takes.
SWEPT_MS: Final = 6 * MINUTE_MS
#: Longest list of anomalies in one answer, and how many of the worst may be passed over.
MAX_LIMIT: Final = 1_000
MAX_OFFSET: Final = 100_000
DEFAULT_LIMIT: Final = 20


class BadQuery(ValueError):
    """A parameter that cannot be; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


#: How much an answer says of each anomaly.
DETAILS: Final = ("compact", "full")


@dataclass(frozen=True, slots=True)
class Query:
    """What `anomalies` asks for, resolved."""

    start_ms: int
    end_ms: int
    sensitivity: str
    method: str
    server: str | None
    tool: str | None
    limit: int
    full: bool
    offset: int = 0

    def concerns(self, server: str, tool: str) -> bool:
        """Whether a series is asked about."""
        return self.server in (None, server) and self.tool in (None, tool)


def parse_query(params: dict[str, Any], now_ms: int) -> Query:
    """The query of a request's parameters.

    Raises: BadQuery.
    """
    end_ms = _whole(params, "endMs", now_ms, 0, 2**53)
    lookback_ms = _whole(params, "lookbackMs", 6 * 3_600_000, MINUTE_MS, HISTORY_MS)
    sensitivity = _one_of(params, "sensitivity", "medium", SENSITIVITIES)
    method = _one_of(params, "method", "auto", METHODS)
    limit = _whole(params, "limit", DEFAULT_LIMIT, 0, MAX_LIMIT)
    server, tool = _name(params, "mcpServer"), _name(params, "toolName")
    offset = _whole(params, "offset", 0, 0, MAX_OFFSET)
    full = _one_of(params, "detail", "compact", DETAILS) == "full"
    return Query(end_ms - lookback_ms, end_ms, sensitivity, method, server, tool, limit, full, offset)


def answer(watch: Watch, query: Query, lock: Lock, known: Known = NOTHING) -> dict[str, Any]:
    """The answer, without freshness. The lock is taken a series at a time, so that the stream never waits for long. `known`: what
    is known of the window beyond the state.
    """
    coverage = _Coverage(query, known.note)
    if query.method != "auto":
        return _answer_named(watch, query, coverage, lock, known)
    shown, figures = _find_auto(watch, query, coverage, lock, known)
    rows: list[dict[str, Any]] = []
    for event in shown:
        with lock():
            if event.end_ms is None:
                _explain(watch, event)
            rows.append(remark(watch, event, full=query.full, place=len(rows)))
    return {"anomalies": rows, "summary": figures, "coverage": coverage.as_map()}


def _answer_named(watch: Watch, query: Query, coverage: _Coverage, lock: Lock, known: Known) -> dict[str, Any]:
    """Every event with full detail, else a row for each metric of a tool: its worst event, `events` of it there are,
    `expectedByChance` and `lastEventTs`.
    """
    # A past that was lived again has all of the window, and nobody waits for it.
    seen, turn = (watch, lock) if known.replayed is None else (known.replayed, contextlib.nullcontext)
    found = _find_named(seen, query, coverage, turn)
    figures = found.summary()
    shown: list[tuple[Event, dict[str, Any]]]
    if query.full:
        shown = [(event, {}) for event in found.worst(query.limit, query.offset)]
    else:
        groups, figures["rows"] = found.by_tool(query.limit, query.offset)
        shown = [(group.worst, _of_group(group)) for group in groups]
    if not figures["total"]:
        # A silent method is not a healthy tool: say what the default one sees in the same window.
        figures["autoFinds"] = _find_auto(watch, query, _Coverage(query), lock, known)[1]["total"]
    rows: list[dict[str, Any]] = []
    for event, more in shown:
        with turn():
            _explain(seen, event)
            rows.append(remark(seen, event, full=query.full, place=len(rows)) | more)
    with turn():
        figures["incidents"] = incidents.summary([event for event, _ in shown], seen.incidents)
    return {"anomalies": rows, "summary": figures, "coverage": coverage.as_map()}


def _of_group(group: methods.Group) -> dict[str, Any]:
    return {"events": group.count, "expectedByChance": round(group.expected, 1), "lastEventTs": group.last_ms}


def _find_auto(
    watch: Watch, query: Query, coverage: _Coverage, lock: Lock, known: Known
) -> tuple[list[Event], dict[str, Any]]:
    """The worst events of the book, of what is known beyond it and of a sweep now, and figures about all."""
    with lock():
        events = _asked_for(watch.book.events.values(), query)
    events = united(events, _asked_for(known.stored, query))
    if known.replayed is not None:
        lived = _asked_for(known.replayed.book.events.values(), query)
        events = united(events, [event for event in lived if _may_be(watch, event)])
        for series in _concerned(known.replayed, query):
            coverage.add(series)
    with lock():
        chosen = _concerned(watch, query)
    # What lasted in the past was swept then, and what was swept just now need not be once more.
    lately = query.end_ms >= watch.engine.newest_ts - LATELY_MS and query.end_ms - known.swept_ms > SWEPT_MS
    for series in chosen:
        with lock():
            coverage.add(series, known.told_until(series.key))
            if lately:
                events += [e for e in watch.preview(series, query.end_ms) if not is_below(e.level, query.sensitivity)]
    events.sort(key=badness, reverse=True)
    with lock():
        grouped = incidents.summary(events, watch.incidents)
    return events[query.offset : query.offset + query.limit], summary(events) | {"incidents": grouped}


def _may_be(watch: Watch, event: Event) -> bool:
    """Whether what a past that was lived again takes for a tool's first calls may be these."""
    series = watch.engine.series.get(event.series)
    return not event.since_first or series is None or series.first_ts >= event.start_ms


def _asked_for(events: Iterable[Event], query: Query) -> list[Event]:
    """Those of the window; one that is open goes on, whenever it was last looked at."""
    return [
        event
        for event in events
        if not is_below(event.level, query.sensitivity)
        and event.start_ms <= query.end_ms
        and (event.end_ms is None or event.last_ms >= query.start_ms)
        and query.server in (None, event.server)
        and concerns_tool(event, query.tool)
    ]


def _concerned(watch: Watch, query: Query) -> list[SeriesState]:
    return [series for series in watch.engine.series.values() if query.concerns(*series.key)]


def _find_named(watch: Watch, query: Query, coverage: _Coverage, lock: Lock) -> methods.Found:
    """What a named method finds."""
    with lock():
        chosen = _concerned(watch, query)
    search = methods.Search(query.method, query.sensitivity, query.start_ms, query.end_ms)
    for series in chosen:
        with lock():
            coverage.add(series)
            search.look(series)
    return search.found()


def badness(event: Event) -> tuple[int, bool, float, int]:
    """Worst first: severity, going on or over, how far outside, how late."""
    times = event.value / event.upper if event.upper > 0 else event.value
    return SEVERITIES.index(event.severity), event.end_ms is None, times, event.start_ms


def summary(events: Iterable[Event]) -> dict[str, Any]:
    """How many, by severity and by type."""
    listed = list(events)
    by_severity = Counter(event.severity for event in listed)
    return {
        "total": len(listed),
        "bySeverity": {name: by_severity[name] for name in SEVERITIES},
        "byType": dict(sorted(Counter(event.type for event in listed).items())),
    }


class _Coverage:
    """What could be seen: since when, how many calls, how many series had too few to judge by; and what of it the named methods
    saw call by call, what by the minutes' summaries.
    """

    def __init__(self, query: Query, beyond: dict[str, Any] | None = None) -> None:
        """`beyond`: what is said of the part that the state does not reach."""
        self._query = query
        self._beyond = beyond or {}
        self._needed = MIN_BASELINE_CALLS if query.method == "auto" else MIN_METHOD_CALLS
        self._since: int | None = None
        self._held = self._told = 0
        #: Calls to judge by, by series; of which not all are held one by one; of which a part was forgotten.
        self._known: Counter[Series] = Counter()
        self._inexact: set[Series] = set()
        self._partial: set[Series] = set()

    def add(self, series: SeriesState, told_until_ms: int = -1) -> None:
        """`told_until_ms`: calls up to then were seen elsewhere, and are counted there."""
        calls, minutes, start_ms = series.calls, series.minutes, max(self._query.start_ms, told_until_ms + 1)
        held, told = spans.tally(
            start_ms,
            self._query.end_ms,
            calls.ts,
            calls.filled,
            calls.dropped_ts,
            minutes.index,
            minutes.filled,
            minutes.column(0),
        )
        if not held + told:
            return
        since = max(series.since(), start_ms)
        self._since = since if self._since is None else min(self._since, since)
        self._held += held
        self._told += told
        to_judge_by = series.calls_total if self._query.method == "auto" else held + told
        self._known[series.key] = max(self._known[series.key], to_judge_by)
        if not calls.covers(start_ms):
            self._inexact.add(series.key)
        if minutes.forgotten * MINUTE_MS >= start_ms:
            self._partial.add(series.key)

    def as_map(self) -> dict[str, Any]:
        return {
            "startMs": self._query.start_ms,
            "endMs": self._query.end_ms,
            "sinceMs": self._since,
            "since": None if self._since is None else iso(self._since),
            "calls": self._held + self._told,
            "callsOneByOne": self._held,
            "callsByMinutes": self._told,
            "series": len(self._known),
            "seriesExact": len(self._known) - len(self._inexact),
            "seriesWithTooFewCalls": sum(calls < self._needed for calls in self._known.values()),
            "minCalls": self._needed,
            "seriesSeenInPart": len(self._partial),
            **self._beyond,
        }


def _explain(watch: Watch, event: Event) -> None:
    series = watch.engine.series.get(event.series)
    if series is not None:
        evidence = watch.evidence(event, series)
        event.evidence = event.evidence | evidence.as_map()
        event.recommendations = recommendations(event, evidence)


def _whole(params: dict[str, Any], field: str, default: int, least: int, most: int) -> int:
    value = params.get(field)
    if value is None:
        return default
    if type(value) is not int or not least <= value <= most:
        raise BadQuery(field, f"a whole number from {least} to {most}")
    return value


def _one_of(params: dict[str, Any], field: str, default: str, accepted: tuple[str, ...]) -> str:
    value = params.get(field, default)
    if value not in accepted:
        raise BadQuery(field, f"one of {', '.join(accepted)}")
    return str(value)


def _name(params: dict[str, Any], field: str) -> str | None:
    value = params.get(field)
    if value is not None and not isinstance(value, str):
        raise BadQuery(field, "a name")
    return value
