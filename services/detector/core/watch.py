"""From what kernels and sweep see to events: opens, moves and closes them.

Owns those decisions. What is the same anomaly found twice says `recognition`, what an event under way is read off `following`,
what is written and told of it `news`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from services.detector.core import following, leaks, recognition, server_events
from services.detector.core.engine import Engine, Happening, Turn
from services.detector.core.events import SET_BACK, Book, Event
from services.detector.core.firing import note_baseline, note_surer
from services.detector.core.incidents.evidence import Evidence
from services.detector.core.kernels import error_mixture, judge
from services.detector.core.metrics import METRICS, RESPONSE_TIME_SHIFT, SIGNAL, STORED_LEVEL
from services.detector.core.news import Line, News, Telling
from services.detector.core.readings import (
    ENDINGS,
    INSIDE,
    LOST,
    REBUILT,
    SIGNAL_ENDINGS,
    SILENT,
    TRACKED,
    WORSE,
    be_as_severe,
    ending,
    follow_turn,
    from_finding,
    from_track,
    from_turn,
    metric_of,
    move,
    name_by_length,
    update,
)
from services.detector.core.redating import cut_back, dated_anew, put_off, worse_within
from services.detector.core.servers import Turn as ServerTurn
from services.detector.core.signal import course
from services.detector.core.spike_onset import begin_later
from services.detector.core.state.series import SeriesState
from services.detector.core.sweeps.findings import Finding
from services.detector.core.sweeps.shifts import fell, find_shift, goes_on
from services.detector.core.sweeps.sweep import sweep
from services.detector.core.telling.explain import recommendations
from shared.batch import Batch, Series


class Watch:
    """Engine and book together."""

    def __init__(self, engine: Engine, book: Book) -> None:
        self.engine = engine
        self.book = book
        self.news = News(engine, book)
        self.incidents = self.news.incidents
        self.messages = self.news.messages
        #: Series whose response times are worth a look.
        self._suspects: set[Series] = set()

    # --- what comes in ----------------------------------------------------------------------------------------------

    def apply(self, batch: Batch, *, live: bool, came_ms: int | None = None) -> bool:
        """Fold a batch in; whether an event opened, rose or closed. `came_ms`: as `Engine.apply` says."""
        self.messages.note(batch)
        happenings = self.engine.apply(batch, came_ms, live=live, take=partial(self._take, live=live))
        changed = bool(happenings)
        changed = self.take_servers(live=live) or changed
        return self._take_turns(live=live) or changed

    def tick(self, now_ms: int, *, live: bool = True) -> bool:
        """Close by the clock, and let open events follow their numbers; whether there is something to write or tell."""
        happenings = [
            happening
            for series in {event.series for event in self._open()}
            if series in self.engine.series
            for happening in self.engine.close_silent(self.engine.series[series], now_ms)
        ]
        for happening in happenings:
            self._take(happening, live=live)
        moved = bool(happenings)
        self.engine.ask_servers(now_ms)
        moved = self.take_servers(live=live) or moved
        self.engine.close_minutes(now_ms)
        moved = self._take_turns(live=live) or moved
        moved = self.look(now_ms, live=live) or moved
        return self.follow(live=live) or moved

    def end_forgotten(self, now_ms: int) -> bool:
        """End the events of tools that are watched no more; whether there are any."""
        gone = [event for event in self._open() if not following.is_watched(event, self.engine)]
        for event in gone:
            self.news.close(event, event.last_ms, SET_BACK if event.last_ms > now_ms else SILENT)
        return bool(gone)

    def look(self, now_ms: int, *, live: bool) -> bool:
        """Look at the calls of series whose minutes gave cause; whether something is to be written or told."""
        changed = False
        for key in sorted(self._suspects):
            series = self.engine.series.get(key)
            finding = None if series is None else find_shift(series, self.engine.reached(series, now_ms))
            if series is not None and finding is not None:
                changed = self._found(series, finding, live=live) or changed
        self._suspects.clear()
        return changed

    def follow(self, *, live: bool = True) -> bool:
        """Bring open events up to date; whether one became worse."""
        worse = False
        for event in list(self._open()):
            series = self.engine.series.get(event.series)
            if series is None or not following.can_follow(event, series):
                continue
            if following.follow(event, series, self.engine):
                self.book.dirty.add(event.id)
            worse = self.news.tell(event, live=live) or worse
        return worse

    def sweep(self, all_series: Iterable[SeriesState], now_ms: int, *, live: bool = True) -> bool:
        """Look for what a look at single calls cannot see; whether something is to be written or told."""
        changed = False
        for series in all_series:
            reached_ms = self.engine.reached(series, now_ms)
            findings = {(f.type, f.metric): f for f in sweep(series, reached_ms)}
            changed = self._settle(series, findings, reached_ms) or changed
            for finding in findings.values():
                changed = self._found(series, finding, live=live) or changed
        return changed

    def caught_up(self, now_ms: int) -> None:
        """The replay is over: tell what it found if it is still news."""
        self.news.caught_up(now_ms)

    def reconcile(self) -> None:
        """After a rebuild: end the events that the rebuilt tracks know nothing of."""
        for event in list(self._open()):
            if following.is_lost(event, self.engine):
                self.news.close(event, event.last_ms, REBUILT)

    # --- what goes out ----------------------------------------------------------------------------------------------

    def take_lines(self) -> list[Line]:
        """The lines owed to the anomaly files since the last time."""
        return self.news.take_lines()

    def take_raises(self) -> list[Telling]:
        """The events to tell the alerter of since the last time."""
        return self.news.take_raises()

    def preview(self, series: SeriesState, end_ms: int) -> Iterator[Event]:
        """What a sweep now would add, without adding it."""
        for finding in sweep(series, self.engine.reached(series, end_ms)):
            if recognition.known(self.book, series.key, finding) is None:
                event = from_finding(series.key, finding)
                evidence = self.evidence(event, series)
                event.evidence = evidence.as_map() | ({"perHour": finding.per_hour} if finding.per_hour else {})
                note_baseline(event, series)
                event.incident = self.incidents.place(event)
                event.recommendations = recommendations(event, evidence)
                yield event

    def evidence(self, event: Event, series: SeriesState) -> Evidence:
        """What else moved while an event of a series went on."""
        return self.news.evidence(event, series)

    # --- decisions --------------------------------------------------------------------------------------------------

    def _open(self) -> Iterator[Event]:
        return (self.book.events[name] for name in list(self.book.open.values()))

    def _changed(self, event: Event, *, live: bool) -> None:
        """An event is new, or of a higher level."""
        self.book.dirty.add(event.id)
        self.news.publish(event, live=live)

    def _ended(self, event: Event, how: str, *, live: bool) -> None:
        self.news.tell(event, live=live)
        self.news.close(event, event.last_ms, how)

    def _over(self, event: Event, series: SeriesState, how: str, *, live: bool) -> None:
        """What found an event is done with it."""
        if following.leave_to_sweep(event, series, self.book):
            self.news.tell(event, live=live)
        else:
            self._ended(event, how, live=live)

    def _take(self, happening: Happening, *, live: bool) -> None:
        metric = "error_rate" if happening.metric < 0 else METRICS[happening.metric].name
        event = self.book.open_event(happening.series.key, happening.type, metric)
        event, older = self._under_way(event, happening.start_ms)
        if older:
            return
        if happening.kind == judge.OPENED:
            if happening.metric < 0 and not (event is not None and event.stored):
                put_off(happening.series, happening.place)
            self._opened(event, happening, metric, live=live)
        elif event is not None:
            update(event, happening.place)
            self._over(event, happening.series, ENDINGS[happening.kind], live=live)

    def _under_way(self, event: Event | None, start_ms: int) -> tuple[Event | None, bool]:
        """The open event if it is that of a track which began at a time, and whether the track is an older one's; an event that a
        later track finds open is lost.
        """
        if event is not None and event.start_ms < start_ms:
            self.news.close(event, event.last_ms, LOST)
            return None, False
        return event, event is not None and event.start_ms > start_ms

    def _opened(self, event: Event | None, happening: Happening, metric: str, *, live: bool) -> None:
        if event is None:
            if happening.metric >= 0:
                begin_later(happening.series, happening.metric, happening.place)
            event = from_track(happening.series.key, happening.metric, happening.place)
            if happening.metric < 0 and event.stored:
                event = dated_anew(happening.series, event, happening.place, known=False) or event
            if event.since_first and recognition.was_heard_of(self.book, event):
                return
            same = self.book.same(event.series, event.type, metric, event.start_ms, event.last_ms)
            if event.id in self.book.events or any(same):
                return  # found before, and still in the book: replayed or rebuilt
            if leaks.is_part(self.book, event):
                return
            shown = recognition.shift_of(self.book, event) or recognition.shown_by_signal(self.book, event)
            if shown is not None:
                self._surer(shown, event, live=live)
                return
            self.book.add(event)
        else:
            event = self._risen(event, happening, live=live)
        self._changed(event, live=live)

    def _risen(self, event: Event, happening: Happening, *, live: bool) -> Event:
        """An event that rose a level or goes on: what was a mere suspicion, or over unnoticed, may have begun anew, and a far
        worse one within it.
        """
        if happening.metric < 0 and happening.place[error_mixture.LEVEL] >= max(STORED_LEVEL, event.level + 1):
            again = dated_anew(happening.series, event, happening.place, known=event.stored)
            if again is not None and again.id not in self.book.events:
                if event.stored:
                    self._ended(event, INSIDE, live=live)
                else:
                    cut_back(happening.series, event, again.start_ms)
                    self.book.close(event, event.last_ms, INSIDE)
                self.book.add(again)
                return again
        if (
            happening.metric >= 0
            and not event.stored
            and begin_later(happening.series, happening.metric, happening.place)
        ):
            event.start_ms = int(happening.place[judge.START])
        worse = worse_within(happening.series, event, happening.place) if happening.metric < 0 else None
        if worse is not None and worse.id not in self.book.events:
            self._ended(event, WORSE, live=live)
            self.book.add(worse)
            return worse
        update(event, happening.place)
        return event

    def take_servers(self, *, live: bool) -> bool:
        """Let what was seen of servers begin, move and end events; whether there was anything."""
        turns = self.engine.servers.take()
        for turn in turns:
            event = server_events.open_event(self.book, turn.server)
            event, older = self._under_way(event, int(turn.row[error_mixture.START]))
            if older:
                continue
            if turn.kind == judge.OPENED:
                self._server_opened(event, turn, live=live)
            elif event is not None:
                server_events.follow_turn(event, turn)
                self._ended(event, ENDINGS[turn.kind], live=live)
        return bool(turns)

    def _server_opened(self, event: Event | None, turn: ServerTurn, *, live: bool) -> None:
        if event is None:
            event = server_events.from_turn(turn)
            if event.id in self.book.events:
                return  # found before, and still in the book: replayed or rebuilt
            self.book.add(event)
        server_events.follow_turn(event, turn)
        self._changed(event, live=live)

    def _take_turns(self, *, live: bool) -> bool:
        changed = False
        for turn in self.engine.take_turns():
            if turn.kind == course.SUSPECTED:
                self._suspects.add(turn.series.key)
                continue
            event = self.book.open_event(turn.series.key, SIGNAL, metric_of(turn.signal)[0])
            event, older = self._under_way(event, int(turn.track[course.START]))
            if older:
                continue
            if turn.kind == course.OPENED:
                changed = self._turned(event, turn, live=live) or changed
            elif event is not None:
                follow_turn(event, turn.signal, turn.track)
                self._over(event, turn.series, SIGNAL_ENDINGS[turn.kind], live=live)
                changed = True
        return changed

    def _turned(self, event: Event | None, turn: Turn, *, live: bool) -> bool:
        if event is None:
            event = from_turn(turn.series.key, turn.signal, turn.track)
            known = next(self.book.about(event.series, event.metric, event.start_ms, event.last_ms), None)
            if known is not None:
                return self._surer(known, event, live=live)
            self.book.add(event)
        else:
            follow_turn(event, turn.signal, turn.track)
        self._changed(event, live=live)
        return True

    def _surer(self, event: Event, again: Event, *, live: bool) -> bool:
        """Another layer has found an event as well: it stays one anomaly, as sure as the surer of them, and as severe as
        what it is called.
        """
        if again.type == event.type == RESPONSE_TIME_SHIFT:
            be_as_severe(event, again.severity)
        if event.level >= again.level and event.confidence >= again.confidence:
            return False
        event.level = max(event.level, again.level)
        note_surer(event, again)
        event.confidence = max(event.confidence, again.confidence)
        self.book.dirty.add(event.id)
        self.news.write(event)
        self.news.tell(event, live=live)
        return event.stored

    def _found(self, series: SeriesState, finding: Finding, *, live: bool) -> bool:
        event = self.book.open_event(series.key, finding.type, finding.metric)
        parts = leaks.parts(self.book, series.key, finding)
        if event is None:
            spike = recognition.lasting_spike(self.book, series.key, finding)
            if spike is not None:
                spike.found_as, spike.type = spike.type, RESPONSE_TIME_SHIFT
                be_as_severe(spike, finding.severity)
                self.news.explain(spike)
                self.news.tell(spike, live=live)
                return True
            known = None if parts else recognition.known(self.book, series.key, finding)
            if known is not None:
                return self._surer(known, from_finding(series.key, finding), live=live)
            event = leaks.begun(self.book, series.key, finding, parts)
        else:
            move(event, finding)
        self._unite(event, parts)
        name_by_length(event)
        if finding.per_hour:
            event.evidence["perHour"] = finding.per_hour
        written, raised = event.written, event.raised
        self._changed(event, live=live)
        return (written, raised) != (event.written, event.raised)

    def _unite(self, event: Event, parts: list[Event]) -> None:
        """What is part of an event is told with it, and no more by itself."""
        for part in parts:
            if part is event:
                continue
            if part.end_ms is None:
                self.news.close(part, part.last_ms, leaks.PART_OF_LEAK)
            leaks.leave_to(part, event)
            self.book.dirty.add(part.id)

    def _settle(self, series: SeriesState, findings: dict[tuple[str, str], Finding], now_ms: int) -> bool:
        """Close the swept events of a series that are no longer found; one that was found later than `now_ms` may be over, but
        that is not known yet.
        """
        closed = False
        for event in list(self._open()):
            swept = event.origin not in TRACKED and event.method != SIGNAL and event.series == series.key
            found = findings.get((event.origin, event.metric))
            goes_on_so = found is not None and recognition.goes_same_way(event, found)
            if not swept or goes_on_so or event.last_ms > now_ms:
                continue
            if event.origin == RESPONSE_TIME_SHIFT and goes_on(series, event, now_ms):
                self._lengthen(event, series, now_ms)
            else:
                ended = ending(series, event, now_ms)
                if event.origin == RESPONSE_TIME_SHIFT and ended == INSIDE:
                    event.last_ms = fell(series, event, now_ms)
                    name_by_length(event)
                self.news.close(event, event.last_ms, ended)
                closed = True
        return closed

    def _lengthen(self, event: Event, series: SeriesState, now_ms: int) -> None:
        event.last_ms = max(event.last_ms, min(series.newest_ts, now_ms))
        name_by_length(event)
        self.book.dirty.add(event.id)
