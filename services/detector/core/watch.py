"""From what kernels and sweep see to events: opens, moves and closes them, and says what is to be written and told.

Owns those decisions. Nothing is done here: `take_lines` and `take_raises` hand over what the shell does once the state is on
disk. Which events the alerter is told of: those of severity warning and above; again when one becomes critical. What was found
in a replay and is long over is stored, not told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from services.detector.core import server_events
from services.detector.core.engine import Engine, Happening, Turn
from services.detector.core.events import SEVERITIES, Book, Event
from services.detector.core.evidence import Evidence, gather
from services.detector.core.explain import recommendations
from services.detector.core.findings import Finding
from services.detector.core.firing import note_baseline, note_surer
from services.detector.core.incidents import Incidents
from services.detector.core.kernels import judge
from services.detector.core.messages import Messages
from services.detector.core.metrics import METRICS, MINUTE_MS, RESPONSE_TIME_SHIFT, RESPONSE_TIME_SPIKE, SIGNAL
from services.detector.core.readings import (
    ENDINGS,
    REBUILT,
    SIGNAL_ENDINGS,
    SIGNAL_NUMBER,
    TRACKED,
    TRACKED_METRICS,
    ending,
    follow_turn,
    from_finding,
    from_track,
    from_turn,
    metric_of,
    move,
    name_by_length,
    place_of,
    update,
)
from services.detector.core.shifts import find_shift, goes_on
from services.detector.core.signal import course
from services.detector.core.state.series import SeriesState
from services.detector.core.sweep import sweep
from shared.batch import Batch, Series

#: What a replay finds that ended longer ago makes no alert.
STALE_MS: Final = 10 * MINUTE_MS
#: A spike that has gone on for this long, and is seen by the sweep too, is called a shift.
LASTING_MS: Final = 30 * MINUTE_MS
#: Slow calls during a shift are an event of their own from this many times its level on.
BEYOND_SHIFT_TIMES: Final = 5.0


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


class Watch:
    """Engine and book together."""

    def __init__(self, engine: Engine, book: Book) -> None:
        self.engine = engine
        self.book = book
        self.incidents = Incidents(book)
        self.messages = Messages()
        #: Series whose response times are worth a look.
        self._suspects: set[Series] = set()
        self._lines: list[Line] = []
        self._raises: list[Telling] = []
        #: Events of a replay whose telling waits until it is over.
        self._undecided = {e.id for e in book.events.values() if e.stored and _is_worse(e.severity, e.raised)}

    # --- what comes in ----------------------------------------------------------------------------------------------

    def apply(self, batch: Batch, *, live: bool) -> bool:
        """Fold a batch in; whether an event opened, rose or closed."""
        self.messages.note(batch)
        happenings = self.engine.apply(batch)
        changed = self._take(happenings, live=live)
        changed = self._take_servers(live=live) or changed
        return self._take_turns(live=live) or changed

    def tick(self, now_ms: int) -> bool:
        """Close by the clock, and let open events follow their numbers; whether there is something to write or tell."""
        happenings = [
            happening
            for series in {event.series for event in self._open()}
            if series in self.engine.series
            for happening in self.engine.close_silent(self.engine.series[series], now_ms)
        ]
        moved = self._take(happenings, live=True)
        self.engine.servers.tick(now_ms)
        moved = self._take_servers(live=True) or moved
        self.engine.close_minutes(now_ms)
        moved = self._take_turns(live=True) or moved
        moved = self.look(now_ms) or moved
        return self.follow() or moved

    def look(self, now_ms: int) -> bool:
        """Look at the calls of series whose minutes gave cause; whether something is to be written or told."""
        changed = False
        for key in sorted(self._suspects):
            series = self.engine.series.get(key)
            finding = None if series is None else find_shift(series, now_ms)
            if series is not None and finding is not None:
                changed = self._found(series, finding) or changed
        self._suspects.clear()
        return changed

    def follow(self) -> bool:
        """Bring open events up to date with their tracks; whether one became worse."""
        worse = False
        for event in list(self._open()):
            series = self.engine.series.get(event.series)
            if series is None:
                continue
            before = (event.last_ms, event.points, event.severity)
            if event.method == SIGNAL:
                self._follow_signal(event, series)
            elif server_events.is_of_server(event):
                server_events.follow(event, self.engine.servers)
            else:
                place = place_of(series, event)
                if place is None:
                    continue
                update(event, place)
            if before != (event.last_ms, event.points, event.severity):
                self.book.dirty.add(event.id)
            worse = self._tell(event, live=True) or worse
        return worse

    def sweep(self, all_series: Iterable[SeriesState], now_ms: int) -> bool:
        """Look for what a look at single calls cannot see; whether something is to be written or told."""
        changed = False
        for series in all_series:
            findings = {(f.type, f.metric): f for f in sweep(series, now_ms)}
            changed = self._settle(series, findings, now_ms) or changed
            for finding in findings.values():
                changed = self._found(series, finding) or changed
        return changed

    def caught_up(self, now_ms: int) -> None:
        """The replay is over: tell what it found if it is still news."""
        for name in sorted(self._undecided):
            event = self.book.events.get(name)
            if event is not None and (event.end_ms is None or event.end_ms >= now_ms - STALE_MS):
                self._tell(event, live=True)
        self._undecided.clear()

    def reconcile(self) -> None:
        """After a rebuild: end the events that the rebuilt tracks know nothing of."""
        for event in list(self._open()):
            series = self.engine.series.get(event.series)
            tracked = event.origin in TRACKED and event.metric in TRACKED_METRICS
            if server_events.is_of_server(event) and server_events.follow(event, self.engine.servers):
                continue
            if series is None or (tracked and place_of(series, event) is None) or self._lost_signal(event, series):
                self._close(event, event.last_ms, REBUILT)

    # --- what goes out ----------------------------------------------------------------------------------------------

    def take_lines(self) -> list[Line]:
        """The lines owed since the last time."""
        lines, self._lines = self._lines, []
        return lines

    def take_raises(self) -> list[Telling]:
        """The events to tell the alerter of since the last time."""
        raises, self._raises = self._raises, []
        return raises

    def preview(self, series: SeriesState, end_ms: int) -> Iterator[Event]:
        """What a sweep now would add, without adding it."""
        for finding in sweep(series, end_ms):
            if self._known(series.key, finding) is None:
                event = from_finding(series.key, finding)
                evidence = self.evidence(event, series)
                event.evidence = evidence.as_map() | ({"perHour": finding.per_hour} if finding.per_hour else {})
                note_baseline(event, series)
                event.incident = self.incidents.place(event)
                event.recommendations = recommendations(event, evidence)
                yield event

    def evidence(self, event: Event, series: SeriesState) -> Evidence:
        """What else moved while an event of a series went on."""
        said = self.messages.during(event.series, event.start_ms, event.last_ms)
        return gather(event, series, self.book.of_server(event.server), self.engine.tools[event.server], said)

    # --- decisions --------------------------------------------------------------------------------------------------

    def _open(self) -> Iterator[Event]:
        return (self.book.events[name] for name in list(self.book.open.values()))

    def _take(self, happenings: list[Happening], *, live: bool) -> bool:
        for happening in happenings:
            metric = "error_rate" if happening.metric < 0 else METRICS[happening.metric].name
            event = self.book.open_event(happening.series.key, happening.type, metric)
            if happening.kind == judge.OPENED:
                self._opened(event, happening, metric, live=live)
            elif event is not None:
                update(event, happening.place)
                self._tell(event, live=live)
                self._close(event, event.last_ms, ENDINGS[happening.kind])
        return bool(happenings)

    def _take_servers(self, *, live: bool) -> bool:
        turns = self.engine.servers.take()
        for turn in turns:
            event = server_events.open_event(self.book, turn.server)
            if turn.kind == judge.OPENED:
                if event is None:
                    event = server_events.from_turn(turn)
                    if event.id in self.book.events:
                        continue  # found before, and still in the book: replayed or rebuilt
                    event.opened_live = live
                    self.book.add(event)
                server_events.follow_turn(event, turn)
                self._explain(event)
                self._write(event)
                self._tell(event, live=live)
            elif event is not None:
                server_events.follow_turn(event, turn)
                self._tell(event, live=live)
                self._close(event, event.last_ms, ENDINGS[turn.kind])
        return bool(turns)

    def _take_turns(self, *, live: bool) -> bool:
        changed = False
        for turn in self.engine.take_turns():
            if turn.kind == course.SUSPECTED:
                self._suspects.add(turn.series.key)
                continue
            event = self.book.open_event(turn.series.key, SIGNAL, metric_of(turn.signal)[0])
            if turn.kind == course.OPENED:
                changed = self._turned(event, turn, live=live) or changed
            elif event is not None:
                follow_turn(event, turn.signal, turn.track)
                self._tell(event, live=live)
                self._close(event, event.last_ms, SIGNAL_ENDINGS[turn.kind])
                changed = True
        return changed

    def _turned(self, event: Event | None, turn: Turn, *, live: bool) -> bool:
        if event is None:
            event = from_turn(turn.series.key, turn.signal, turn.track)
            known = list(self.book.about(event.series, event.metric, event.start_ms, event.last_ms))
            if known:
                return self._surer(known[0], event, live=live)
            event.opened_live = live
            self.book.add(event)
        else:
            follow_turn(event, turn.signal, turn.track)
            self.book.dirty.add(event.id)
        self._explain(event)
        self._write(event)
        self._tell(event, live=live)
        return True

    def _surer(self, event: Event, again: Event, *, live: bool) -> bool:
        """Another layer has found an event as well: it stays one anomaly, as sure as the surer of them."""
        if event.level >= again.level and event.confidence >= again.confidence:
            return False
        event.level = max(event.level, again.level)
        note_surer(event, again)
        event.confidence = max(event.confidence, again.confidence)
        self.book.dirty.add(event.id)
        self._write(event)
        self._tell(event, live=live)
        return event.stored

    def _follow_signal(self, event: Event, series: SeriesState) -> None:
        signal = SIGNAL_NUMBER[event.metric]
        kept = self.engine.signals.signal(series.row, signal)
        if kept is not None and kept[1][course.PHASE] == course.OPEN and int(kept[1][course.START]) == event.start_ms:
            follow_turn(event, signal, kept[1])

    def _lost_signal(self, event: Event, series: SeriesState) -> bool:
        if event.method != SIGNAL:
            return False
        kept = self.engine.signals.signal(series.row, SIGNAL_NUMBER[event.metric])
        return kept is None or kept[1][course.PHASE] != course.OPEN or int(kept[1][course.START]) != event.start_ms

    def _opened(self, event: Event | None, happening: Happening, metric: str, *, live: bool) -> None:
        if event is None:
            event = from_track(happening.series.key, happening.metric, happening.place)
            if any(self.book.same(event.series, event.type, metric, event.start_ms, event.last_ms)):
                return  # found before, and still in the book: replayed or rebuilt
            if self._belongs_to_shift(event) or self._known_by_signal(event, live=live):
                return
            event.opened_live = live
            self.book.add(event)
        else:
            update(event, happening.place)
            self.book.dirty.add(event.id)
        self._explain(event)
        self._write(event)
        self._tell(event, live=live)

    def _found(self, series: SeriesState, finding: Finding) -> bool:
        event = self.book.open_event(series.key, finding.type, finding.metric)
        if event is None:
            if self._lasts(series.key, finding):
                return True
            known = self._known(series.key, finding)
            if known is not None:
                return self._surer(known, from_finding(series.key, finding), live=True)
            event = from_finding(series.key, finding)
            event.opened_live = True
            self.book.add(event)
        else:
            move(event, finding)
            self.book.dirty.add(event.id)
        name_by_length(event)
        if finding.per_hour:
            event.evidence["perHour"] = finding.per_hour
        self._explain(event)
        written, raised = event.written, event.raised
        self._write(event)
        self._tell(event, live=True)
        return (written, raised) != (event.written, event.raised)

    def _lasts(self, key: Series, finding: Finding) -> bool:
        """A spike under way that the sweep sees as a shift is one: same event, better name."""
        spike = self.book.open_event(key, RESPONSE_TIME_SPIKE, finding.metric)
        if finding.type != RESPONSE_TIME_SHIFT or spike is None or spike.type == RESPONSE_TIME_SHIFT:
            return False
        if finding.last_ms - spike.start_ms < LASTING_MS or finding.start_ms > spike.last_ms:
            return False
        spike.found_as, spike.type = spike.type, RESPONSE_TIME_SHIFT
        self._explain(spike)
        return True

    def _known(self, key: Series, finding: Finding) -> Event | None:
        """What the book has of this already: itself, what a signal shows, or slow calls for most of the time."""
        span = (finding.start_ms, finding.last_ms)
        half_ms = (finding.last_ms - finding.start_ms) // 2
        brief = finding.last_ms - finding.start_ms < LASTING_MS
        for event in self.book.about(key, finding.metric, *span):
            if event.origin == finding.type or event.method == SIGNAL or event.type == finding.type:
                return event
            slow = finding.type == RESPONSE_TIME_SHIFT and event.type == RESPONSE_TIME_SPIKE
            if slow and (brief or event.last_ms - max(event.start_ms, finding.start_ms) >= half_ms):
                return event
        return None

    def _belongs_to_shift(self, event: Event) -> bool:
        """Slow calls of a tool whose level has risen for good are no news unless they are far beyond that level."""
        shift = self.book.open_event(event.series, RESPONSE_TIME_SHIFT, event.metric)
        return (
            event.type == RESPONSE_TIME_SPIKE
            and shift is not None
            and shift.level >= event.level
            and event.typical <= BEYOND_SHIFT_TIMES * shift.value
        )

    def _known_by_signal(self, event: Event, *, live: bool) -> bool:
        """A signal shows it already: one anomaly, unless single calls are far beyond what that says."""
        known = self.book.open_event(event.series, SIGNAL, event.metric)
        if known is None or event.typical > BEYOND_SHIFT_TIMES * known.typical:
            return False
        self._surer(known, event, live=live)
        return True

    def _settle(self, series: SeriesState, findings: dict[tuple[str, str], Finding], now_ms: int) -> bool:
        """Close the swept events of a series that are no longer found."""
        closed = False
        for event in list(self._open()):
            swept = event.origin not in TRACKED and event.method != SIGNAL and event.series == series.key
            if not swept or (event.origin, event.metric) in findings:
                continue
            if event.origin == RESPONSE_TIME_SHIFT and goes_on(series, event, now_ms):
                self._lengthen(event, series, now_ms)
            else:
                self._close(event, event.last_ms, ending(series, event, now_ms))
                closed = True
        return closed

    def _lengthen(self, event: Event, series: SeriesState, now_ms: int) -> None:
        event.last_ms = max(event.last_ms, min(series.newest_ts, now_ms))
        name_by_length(event)
        self.book.dirty.add(event.id)

    def _close(self, event: Event, end_ms: int, ended: str) -> None:
        self._explain(event)
        self.book.close(event, end_ms, ended)
        self._write(event)

    def _write(self, event: Event) -> None:
        if not event.stored:
            return
        if not event.written:
            event.written = "open"
            self._lines.append(Line(event, "open"))
        if event.end_ms is not None and event.written == "open":
            event.written = "close"
            self._lines.append(Line(event, "close"))

    def _tell(self, event: Event, *, live: bool) -> bool:
        if not event.stored or not _is_worse(event.severity, event.raised):
            return False
        if not live:
            self._undecided.add(event.id)
            return False
        self._explain(event)
        name = f"{event.id}-{event.severity}" if event.raised else event.id
        event.raised = event.severity
        self.book.dirty.add(event.id)
        self._raises.append(Telling(name, event))
        return True

    def _explain(self, event: Event) -> None:
        series = self.engine.series.get(event.series)
        if series is None:
            return
        evidence = self.evidence(event, series)
        event.evidence = event.evidence | evidence.as_map()
        note_baseline(event, series)
        self.incidents.join(event)
        event.recommendations = recommendations(event, evidence)
        self.book.dirty.add(event.id)


def _is_worse(found: str, told: str) -> bool:
    rank = SEVERITIES.index(found)
    return rank >= 1 and (told not in SEVERITIES or rank > SEVERITIES.index(told))
