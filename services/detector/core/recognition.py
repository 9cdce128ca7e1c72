"""Whether what one layer found is in the book already, found by another: one anomaly stays one.

Owns what counts as the same. Reads the book alone; what follows from it is `watch`'s matter.
"""

from __future__ import annotations

from typing import Final

from services.detector.core.events import Book, Event
from services.detector.core.metrics import (
    MINUTE_MS,
    RESPONSE_TIME_SHIFT,
    RESPONSE_TIME_SPIKE,
    SIGNAL,
    THROUGHPUT_CHANGE,
)
from services.detector.core.sweeps.findings import Finding
from services.detector.core.sweeps.shifts import SLOWER
from shared.batch import Series

#: A spike that has gone on for this long, and is seen by the sweep too, is called a shift.
LASTING_MS: Final = 30 * MINUTE_MS
#: Slow calls during a shift are an event of their own from this many times its level on.
BEYOND_SHIFT_TIMES: Final = 5.0


def known(book: Book, key: Series, finding: Finding) -> Event | None:
    """What the book has of a finding: itself, what a signal shows, or slow calls for most of the time."""
    half_ms = (finding.last_ms - finding.start_ms) // 2
    brief = finding.last_ms - finding.start_ms < LASTING_MS
    for event in book.about(key, finding.metric, finding.start_ms, finding.last_ms):
        if not goes_same_way(event, finding):
            continue
        if event.origin == finding.type or event.method == SIGNAL or event.type == finding.type:
            return event
        slow = finding.type == RESPONSE_TIME_SHIFT and event.type == RESPONSE_TIME_SPIKE
        if slow and (brief or event.last_ms - max(event.start_ms, finding.start_ms) >= half_ms):
            return event
    return None


def goes_same_way(event: Event, finding: Finding) -> bool:
    """Whether calls became more, or fewer, in both: the silence after a surge is another anomaly."""
    falls = finding.value < finding.median
    return finding.type != THROUGHPUT_CHANGE or falls == (event.value < event.median)


def lasting_spike(book: Book, key: Series, finding: Finding) -> Event | None:
    """The spike under way that a finding shows to be a shift: same event, better name."""
    spike = book.open_event(key, RESPONSE_TIME_SPIKE, finding.metric)
    if finding.type != RESPONSE_TIME_SHIFT or spike is None or spike.type == RESPONSE_TIME_SHIFT:
        return None
    lasts = finding.last_ms - spike.start_ms >= LASTING_MS and finding.start_ms <= spike.last_ms
    return spike if lasts else None


def was_heard_of(book: Book, event: Event) -> bool:
    """Whether it was told before that a tool does not work from its first calls on: after a rebuild these are not its first."""
    return any(e.since_first and e.series == event.series for e in book.of_server(event.server) if e.id != event.id)


def shift_of(book: Book, event: Event) -> Event | None:
    """The shift under way that slow calls are part of, however much surer they are: of a tool whose level has risen they are no
    news unless they are far beyond that level.
    """
    shift = book.open_event(event.series, RESPONSE_TIME_SHIFT, event.metric)
    if event.type != RESPONSE_TIME_SPIKE or shift is None:
        return None
    # Where each kind of calls is slower it is the slow kind that lies outside.
    level = max(shift.value, shift.upper) if shift.method == SLOWER else shift.value
    return shift if event.typical <= BEYOND_SHIFT_TIMES * level else None


def shown_by_signal(book: Book, event: Event) -> Event | None:
    """The event under way in which a signal shows the same; none when single calls are far beyond what that says."""
    shown = book.open_event(event.series, SIGNAL, event.metric)
    return None if shown is None or event.typical > BEYOND_SHIFT_TIMES * shown.typical else shown
