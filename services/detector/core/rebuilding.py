"""A rebuild while anomalies are open: they are set aside, the last day is judged anew, and each meets what was found of it.

Owns which event found anew is which one known before: the same anomaly keeps its id, its beginning and what was told of it. What
the calls of the day say of itself an event takes from what was found; one of which nothing was found has ended.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.detector.core.engine import Engine
from services.detector.core.events import SEVERITIES, Event
from services.detector.core.kernels import error_mixture, judge
from services.detector.core.metrics import ERROR_RATE_SPIKE, MINUTE_MS, SIGNAL
from services.detector.core.readings import SIGNAL_NUMBER, TRACKED, TRACKED_METRICS, place_of
from services.detector.core.server_events import is_of_server
from services.detector.core.server_rebuilding import recount
from services.detector.core.signal import course
from services.detector.core.watch import Watch
from shared.batch import Series

#: From so long before an event of a server on its tools are counted once more where its row is lost.
BEFORE_MS: Final = 30 * MINUTE_MS
#: What an event takes from the same one found anew.
_MOVING: Final = ("last_ms", "peak_ms", "value", "typical", "points", "calls")


class UnderWay(NamedTuple):
    """Events that were open before a rebuild, the rows of servers' ones, and the ids of the other events known."""

    events: list[Event]
    rows: dict[str, NDArray[np.float64]]
    known: frozenset[str]
    #: When each tool was first heard of (epoch ms).
    firsts: dict[Series, int]


def set_aside(watch: Watch, before: Engine) -> UnderWay:
    """Take from a watch's book the open events that follow calls, so that no older track is taken for them; `before`: the engine
    in which they were under way. Those of the sweep stay: no calls open, move or end them.
    """
    book = watch.book
    events = [book.events[name] for name in book.open.values()]
    events = [event for event in events if _is_followed(event)]
    rows = {}
    for event in events:
        row = before.servers.row_of(event.server, event.start_ms) if is_of_server(event) else None
        if row is not None:
            rows[event.id] = row.copy()
        book.remove(event)
    firsts = {key: series.first_ts for key, series in before.series.items()}
    return UnderWay(events, rows, frozenset(book.events), firsts)


def join(watch: Watch, under_way: UnderWay) -> None:
    """Put the events back, each as far as the day's calls say it has come."""
    book = watch.book
    for event in under_way.events:
        if is_of_server(event) and event.id not in under_way.rows:
            recount(watch.engine, event.server, event.start_ms - BEFORE_MS)
            watch.take_servers(live=False)
        found = [e for e in _about(watch, event) if e.id not in under_way.known]
        for other in found:
            book.remove(other)
            watch.news.drop(other.id)
        book.add(event)
        again = _same(event, found)
        if event.id in under_way.rows:
            # Tools are read one after the other, which says nothing of what all did at a time.
            watch.engine.servers.adopt(event.server, under_way.rows[event.id])
            watch.engine.servers.dirty.add(event.server)
        elif again is not None:
            _follow(watch, event, again)
    _drop_false_firsts(watch, under_way)
    watch.reconcile()


def _drop_false_firsts(watch: Watch, under_way: UnderWay) -> None:
    """The first calls of the day are not those of a tool that was called before."""
    known = under_way.known | {event.id for event in under_way.events}
    for event in [e for e in watch.book.events.values() if e.since_first and e.id not in known]:
        if under_way.firsts.get(event.series, event.start_ms) < event.start_ms:
            watch.book.remove(event)
            watch.news.drop(event.id)


def _is_followed(event: Event) -> bool:
    tracked = event.origin in TRACKED and event.metric in TRACKED_METRICS
    return tracked or event.method == SIGNAL or is_of_server(event)


def _about(watch: Watch, event: Event) -> list[Event]:
    """What is about the same as an event, whatever found it: of a server's, only such."""
    same = watch.book.about(event.series, event.metric, event.start_ms, event.last_ms)
    if is_of_server(event):
        same = (e for e in watch.book.of_server(event.server) if e.overlaps(event.start_ms, event.last_ms))
    return [e for e in same if is_of_server(e) == is_of_server(event)]


def _same(event: Event, found: list[Event]) -> Event | None:
    """The same event found anew: by its id, else the one that goes on, else the latest."""
    alike = [e for e in found if e.origin == event.origin]
    return max(alike, key=lambda e: (e.id == event.id, e.end_ms is None, e.start_ms), default=None)


def _follow(watch: Watch, event: Event, again: Event) -> None:
    if again.end_ms is None:
        _date(watch.engine, event, again)
    for name in _MOVING:
        setattr(event, name, getattr(again, name))
    event.last_ms = max(event.start_ms, event.last_ms)
    event.level = max(event.level, again.level)
    event.confidence = max(event.confidence, again.confidence)
    event.severity = max(event.severity, again.severity, key=SEVERITIES.index)
    if again.end_ms is not None:
        watch.news.close(event, again.last_ms, again.ended)
    else:
        watch.news.write(event)
    watch.news.tell(event, live=False)


def _date(engine: Engine, event: Event, again: Event) -> None:
    """Tell what an event found anew is followed in when it began, by which it is known."""
    if is_of_server(again):
        row = engine.servers.row_of(again.server, again.start_ms)
        if row is not None:
            row[error_mixture.START] = event.start_ms
        return
    series = engine.series[again.series]
    if again.method == SIGNAL:
        kept = engine.signals.signal(series.row, SIGNAL_NUMBER[again.metric])
        if kept is not None:
            kept[1][course.START] = event.start_ms
        return
    place = place_of(series, again)
    if place is not None:
        place[error_mixture.START if again.type == ERROR_RATE_SPIKE else judge.START] = event.start_ms
