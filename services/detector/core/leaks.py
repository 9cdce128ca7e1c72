"""One leak is one anomaly: the steps and spikes of the same metric that it made are part of it.

Memory that grows is at first a value beyond its band, then a step, and a leak when it has grown long enough to be sure. Owns what
of a book is part of a leak, and how the first of it that is under way comes to be called one: same event, better name. Whom it is
told is `watch`'s matter.
"""

from __future__ import annotations

from typing import Final

from services.detector.core.events import TOLD_ELSEWHERE, Book, Event
from services.detector.core.metrics import MINUTE_MS, RESOURCE_LEAK, STORED_LEVEL
from services.detector.core.readings import from_finding, move
from services.detector.core.sweeps.findings import Finding
from shared.batch import Series

#: How an event that is part of a leak ended.
PART_OF_LEAK: Final = "part of a leak"
#: A leak's onset is known within so long.
ONSET_MS: Final = 30 * MINUTE_MS
#: Values so many times as high as what a leak has reached are no part of it.
BEYOND_TIMES: Final = 1.5


def parts(book: Book, key: Series, finding: Finding) -> list[Event]:
    """What the book has of a leak by other names, in order of time; nothing for other findings and mere suspicions."""
    if finding.type != RESOURCE_LEAK or finding.level < STORED_LEVEL:
        return []
    return sorted(
        (
            event
            for event in book.about(key, finding.metric, finding.start_ms, finding.last_ms)
            if event.type != RESOURCE_LEAK
            and event.start_ms >= finding.start_ms - ONSET_MS
            and event.typical <= BEYOND_TIMES * finding.value
        ),
        key=lambda event: (event.start_ms, event.id),
    )


def is_part(book: Book, event: Event) -> bool:
    """Whether an event found anew is part of a leak under way."""
    leak = book.open_event(event.series, RESOURCE_LEAK, event.metric)
    return leak is not None and leak.stored and event.typical <= BEYOND_TIMES * leak.value


def begun(book: Book, key: Series, finding: Finding, parts: list[Event]) -> Event:
    """The event of a finding: the first of its parts that is under way and told, by a better name, else a new one."""
    bearer = next((e for e in parts if e.end_ms is None and e.stored), None)
    if bearer is None:
        bearer = from_finding(key, finding)
    else:
        _call_leak(book, bearer, finding)
    book.add(bearer)
    return bearer


def _call_leak(book: Book, event: Event, finding: Finding) -> None:
    """Call an event under way the leak that it is, since the leak began."""
    book.open.pop((event.series, event.origin, event.metric), None)
    event.type, event.found_as, event.method = finding.type, "", finding.method
    event.start_ms, event.points = finding.start_ms, 0
    event.median, event.lower, event.upper = finding.median, finding.lower, finding.upper
    for told in ("fired", "level"):
        event.evidence.pop(told, None)
    move(event, finding)


def leave_to(event: Event, leak: Event) -> None:
    """An event that is over is part of a leak, and told there."""
    event.level = TOLD_ELSEWHERE
    event.evidence["partOf"] = leak.id
