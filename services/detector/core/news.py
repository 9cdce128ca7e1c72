"""What is owed to the world about events: lines for the anomaly files, news for the alerter, and the evidence and incident that
both carry.

Owns the decision which events the alerter is told of: those of severity warning and above; again when one becomes critical. What
was found in a replay waits until the replay is over, and what is long over then is stored, not told. Nothing is done here:
`take_lines` and `take_raises` hand over what the shell does once the state is on disk.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from services.detector.core.engine import Engine
from services.detector.core.events import SEVERITIES, Book, Event
from services.detector.core.firing import note_baseline
from services.detector.core.incidents.evidence import MAX_SIBLINGS, Evidence, gather, is_sibling
from services.detector.core.incidents.incidents import Incidents
from services.detector.core.incidents.messages import Messages
from services.detector.core.metrics import MINUTE_MS
from services.detector.core.state.series import SeriesState
from services.detector.core.sweeps.silent_servers import KEY, company, is_silence
from services.detector.core.telling.explain import recommendations

#: What a replay finds that ended longer ago makes no alert.
STALE_MS: Final = 10 * MINUTE_MS


class Telling(NamedTuple):
    """News for the alerter. `name` is the event's id, or another when it became worse after it had been told of, so that the
    worse news is not taken for a repetition.
    """

    name: str
    event: Event


class Line(NamedTuple):
    """A line owed to the anomaly file of the day an event began."""

    event: Event
    phase: str


class News:
    """What is owed about the events of a book."""

    def __init__(self, engine: Engine, book: Book) -> None:
        self.incidents = Incidents(book)
        self.messages = Messages()
        self._engine = engine
        self._book = book
        self._lines: list[Line] = []
        self._raises: list[Telling] = []
        #: Events of a replay whose telling waits until it is over.
        self._undecided = {e.id for e in book.events.values() if e.stored and is_worse(e.severity, e.raised)}

    def publish(self, event: Event, *, live: bool) -> bool:
        """Explain, write and tell of an event that is new, or of a higher level; whether it was told."""
        self.explain(event)
        self.write(event)
        return self.tell(event, live=live)

    def close(self, event: Event, end_ms: int, ended: str) -> None:
        """End an event."""
        self.explain(event)
        self._book.close(event, end_ms, ended)
        self.write(event)

    def explain(self, event: Event) -> None:
        """Bring an event's evidence, incident and recommendations up to date, and those of members that do not know of it yet:
        what was said of one alone is not true of one of several.
        """
        self._explain_one(event)
        for other in self.incidents.members(str(event.incident.get("id"))) if event.stored else ():
            if knows_nothing_of(other, event):
                self._explain_one(other)

    def evidence(self, event: Event, series: SeriesState) -> Evidence:
        """What else moved while an event of a series went on."""
        said = self.messages.during(event.series, event.start_ms, event.last_ms)
        return gather(event, series, self._book.of_server(event.server), self._engine.tools[event.server], said)

    def write(self, event: Event) -> None:
        """Owe the anomaly file what it does not have of an event yet."""
        if not event.stored:
            return
        if not event.written:
            event.written = "open"
            self._lines.append(Line(event, "open"))
        if event.end_ms is not None and event.written == "open":
            event.written = "close"
            self._lines.append(Line(event, "close"))

    def tell(self, event: Event, *, live: bool) -> bool:
        """Owe the alerter an event that is worse than it was told; whether that is so now."""
        if not event.stored or not is_worse(event.severity, event.raised):
            return False
        if not live:
            self._undecided.add(event.id)
            return False
        self.explain(event)
        name = f"{event.id}-{event.severity}" if event.raised else event.id
        event.raised = event.severity
        self._book.dirty.add(event.id)
        self._raises.append(Telling(name, event))
        return True

    def drop(self, name: str) -> None:
        """Owe nothing of an event that is none."""
        self._lines = [line for line in self._lines if line.event.id != name]
        self._raises = [telling for telling in self._raises if telling.event.id != name]
        self._undecided.discard(name)

    def caught_up(self, now_ms: int) -> None:
        """The replay is over: tell what it found if it is still news."""
        for name in sorted(self._undecided):
            event = self._book.events.get(name)
            if event is not None and (event.end_ms is None or event.end_ms >= now_ms - STALE_MS):
                self.tell(event, live=True)
        self._undecided.clear()

    def take_lines(self) -> list[Line]:
        """The lines owed since the last time."""
        lines, self._lines = self._lines, []
        return lines

    def take_raises(self) -> list[Telling]:
        """The events to tell the alerter of since the last time."""
        raises, self._raises = self._raises, []
        return raises

    def _explain_one(self, event: Event) -> None:
        series = self._engine.series.get(event.series)
        if series is None:
            return
        evidence = self.evidence(event, series)
        event.evidence = event.evidence | evidence.as_map()
        self._note_silence(event, series)
        note_baseline(event, series)
        self.incidents.join(event)
        event.recommendations = recommendations(event, evidence)
        self._book.dirty.add(event.id)

    def _note_silence(self, event: Event, series: SeriesState) -> None:
        """Of a silence that goes on, what the other tools of the server do; that of a whole server is a warning."""
        if event.end_ms is not None or not is_silence(event.type, event.value):
            return
        of_server = (one for one in self._engine.series.values() if one.key.server == event.server)
        found = company(series, of_server, event.last_ms)
        event.evidence[KEY] = found.as_map()
        if found.whole and found.leads:
            event.severity = max(event.severity, "warning", key=SEVERITIES.index)


def is_worse(found: str, told: str) -> bool:
    """Whether a severity is worth telling after the one that was told (none: empty)."""
    rank = SEVERITIES.index(found)
    return rank >= 1 and (told not in SEVERITIES or rank > SEVERITIES.index(told))


def knows_nothing_of(event: Event, other: Event) -> bool:
    """Whether another tool's event belongs into an event's evidence, has room there, and is not in it."""
    known = event.evidence.get("siblings") or ()
    tools = [one.get("tool") for one in known if isinstance(one, dict)]
    return is_sibling(event, other) and other.tool not in tools and len(tools) < MAX_SIBLINGS
