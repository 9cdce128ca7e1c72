"""Events under way follow what they were found in: a track of calls or failures, a signal's course, a server's row.

Owns where each kind of event is read off; swept ones are read off nothing (`watch` settles those).
"""

from __future__ import annotations

from services.detector.core import server_events
from services.detector.core.engine import Engine
from services.detector.core.events import Book, Event
from services.detector.core.kernels import judge
from services.detector.core.metrics import MINUTE_MS, RESPONSE_TIME, RESPONSE_TIME_SHIFT, SIGNAL
from services.detector.core.readings import SIGNAL_NUMBER, TRACKED, TRACKED_METRICS, follow_turn, place_of, update
from services.detector.core.signal import course
from services.detector.core.state.series import SeriesState
from services.detector.core.sweeps.shifts import SWEPT, goes_on
from services.detector.core.telling.levels import may_last, measure


def can_follow(event: Event, series: SeriesState) -> bool:
    """Whether there is anything that an event under way follows."""
    return event.method == SIGNAL or server_events.is_of_server(event) or place_of(series, event) is not None


def follow(event: Event, series: SeriesState, engine: Engine) -> bool:
    """Bring an event up to date; whether anything of it moved."""
    before = (event.last_ms, event.points, event.severity)
    if event.method == SIGNAL:
        track = _course_of(event, series, engine)
        if track is not None:
            follow_turn(event, SIGNAL_NUMBER[event.metric], track)
    elif server_events.is_of_server(event):
        server_events.follow(event, engine.servers)
    else:
        place = place_of(series, event)
        if place is not None:
            update(event, place)
    if before == (event.last_ms, event.points, event.severity):
        return False
    # Once a minute is often enough for what lasts.
    level = measure(event, series) if may_last(event) and event.last_ms // MINUTE_MS > before[0] // MINUTE_MS else None
    if level is not None:
        event.evidence["level"] = level.as_map()
    return True


def leave_to_sweep(event: Event, series: SeriesState, book: Book) -> bool:
    """Leave a shift that what found it is done with, for it was learned or is no longer far outside, but that is still there, to
    the sweeps: one condition is one event while it lasts. Whether they follow it now.
    """
    if event.type != RESPONSE_TIME_SHIFT or not event.stored or event.metric != RESPONSE_TIME.name:
        return False
    level = measure(event, series)
    if level is None or book.open_event(event.series, RESPONSE_TIME_SHIFT, event.metric) is not None:
        return False
    told = event.value, event.typical
    event.value = event.typical = level.now
    if not goes_on(series, event, series.newest_ts):
        event.value, event.typical = told
        return False
    event.evidence["level"] = level.as_map()
    book.rename(event, RESPONSE_TIME_SHIFT, SWEPT)
    return True


def is_watched(event: Event, engine: Engine) -> bool:
    """Whether the tool, or the server, of an event is known: not silent for so long that another took its place, nor heard of
    under a clock that was set back.
    """
    if server_events.is_of_server(event):
        return engine.servers.row_of(event.server, event.start_ms) is not None
    return event.series in engine.series


def is_lost(event: Event, engine: Engine) -> bool:
    """Whether what an event was found in knows nothing of it; after a rebuild, that is."""
    series = engine.series.get(event.series)
    if server_events.is_of_server(event) and server_events.follow(event, engine.servers):
        return False
    if series is None:
        return True
    if event.method == SIGNAL:
        return _course_of(event, series, engine) is None
    return event.origin in TRACKED and event.metric in TRACKED_METRICS and place_of(series, event) is None


def _course_of(event: Event, series: SeriesState, engine: Engine) -> judge.Row | None:
    """The track of a signal's event while it is under way."""
    kept = engine.signals.signal(series.row, SIGNAL_NUMBER[event.metric])
    if kept is None or kept[1][course.PHASE] != course.OPEN or int(kept[1][course.START]) != event.start_ms:
        return None
    return kept[1]
