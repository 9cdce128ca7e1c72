"""Anomalies that belong together are one incident: metrics of a tool, tools of a server, servers at one moment.

Owns the decision what belongs together and the names of incidents. An incident is named after the member found first, so that a
replay names it the same; one that turns out to be part of an older one takes its name. Which member is the cause is `causes`'
matter. An event knows its incident (`Event.incident`), so that nothing is kept here that the events do not hold.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from services.detector.core.events import Book, Event
from services.detector.core.incidents import causes
from services.detector.core.incidents.candidates import Cause
from services.detector.core.incidents.candidates_shared import MANY_SERVERS, kinds_of
from services.detector.core.incidents.evidence import MAX_LOOKED_AT, TOGETHER_MS
from services.detector.core.metrics import HISTORY_MS, MINUTE_MS, RESOURCE_LEAK, RESOURCE_SPIKE, THROUGHPUT_CHANGE
from shared.timespan import day_of, iso

#: What began this much later is no part of it, though the earlier one still goes on: of the same tool, and of another one that
#: a resource or load may have reached; a leak takes longer to be felt.
SAME_TOOL_MS: Final = 2 * 3_600_000
REACHED_MS: Final = 30 * MINUTE_MS
LEAK_REACHED_MS: Final = 12 * 3_600_000
#: An anomaly that ended this long before another began still counts as going on.
SLACK_MS: Final = 5 * MINUTE_MS
#: Servers that began within this of each other began at one moment. So many are needed, and a chance below `COINCIDENCE` that as
#: many anomalies begin at a moment of an ordinary day.
MOMENT_MS: Final = 3 * MINUTE_MS
COINCIDENCE: Final = 1e-3
#: How long after its beginning an incident takes what merely began soon after another; where something always goes wrong, a day
#: would be one incident otherwise. What a member that still goes on reaches belongs to it later too.
CHAIN_MS: Final = 60 * MINUTE_MS
#: Members beyond which an incident takes no more: what is more is another.
MAX_MEMBERS: Final = 100

_SLOT_MS = 10 * MINUTE_MS
_DAY_SLOTS = HISTORY_MS // _SLOT_MS
#: A member's part: EFFECT of what is named as the likely cause, be it another member or not; MEMBER where none is named.
ALONE, CAUSE, EFFECT, MEMBER = "alone", "cause", "effect", "member"


def belong_together(one: Event, other: Event, together_ms: int = TOGETHER_MS) -> bool:
    """Whether two anomalies of one server are the same trouble: they began within `together_ms` of each other, or the first still
    went on and is one that is felt elsewhere.
    """
    first, later = (one, other) if (one.start_ms, one.id) <= (other.start_ms, other.id) else (other, one)
    if first.server != later.server:
        return False
    gap = later.start_ms - first.start_ms
    if gap <= together_ms:
        return True
    if later.start_ms > first.last_ms + SLACK_MS:
        return False
    if first.tool == later.tool:
        return gap <= (LEAK_REACHED_MS if first.type == RESOURCE_LEAK else SAME_TOOL_MS)
    reaches = first.type in (RESOURCE_LEAK, RESOURCE_SPIKE, THROUGHPUT_CHANGE) and first.value > first.median
    return reaches and gap <= REACHED_MS


def incident_id(event: Event, digits: int = 4) -> str:
    """`incident-20251031-1f3a`, after the event it began with."""
    digest = hashlib.sha256(event.id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"incident-{day_of(event.start_ms).replace('-', '')}-{digest[:digits]}"


class Incidents:
    """The incidents of a book's events."""

    def __init__(self, book: Book) -> None:
        self._book = book
        #: Ids of the members of each incident; ids of stored events by the ten minutes in which they began.
        self._members: dict[str, set[str]] = defaultdict(set)
        self._slots: dict[int, set[str]] = defaultdict(set)
        #: When each incident began.
        self._began: dict[str, int] = {}
        for event in book.events.values():
            if event.incident.get("id") and event.stored:
                self._note(event, str(event.incident["id"]))

    def join(self, event: Event) -> None:
        """Put an event of the book, or one found anew, where it belongs, and tell every member of the incident its part in it."""
        if not event.stored:
            event.incident = self.place(event)
            return
        own = str(event.incident.get("id") or "")
        names = {str(e.incident["id"]) for e in self._company(event)}
        names = {name for name in names if len(self._members[name]) < MAX_MEMBERS} | ({own} if own else set())
        name = self._merged(names, own) if names else self._new_name(event)
        self._note(event, name)
        self._describe(name)

    def place(self, event: Event) -> dict[str, Any]:
        """The incident of an event that is in no book, or too faint for one, as `Event.incident`; changes nothing."""
        company = list(self._company(event))
        if not company:
            return self._described(incident_id(event), [event], event)
        name = str(min(company, key=lambda e: (e.start_ms, e.id)).incident["id"])
        return self._described(name, self.members(name), event)

    def members(self, name: str) -> list[Event]:
        """The members that are still in the book, in order of time."""
        events = self._book.events
        known = [events[member] for member in self._members.get(name, ()) if member in events and events[member].stored]
        return sorted(known, key=lambda e: (e.start_ms, e.id))

    def forget(self) -> None:
        """Let go of what has left the book."""
        events = self._book.events
        for incident in [i for i, names in self._members.items() if names.isdisjoint(events)]:
            del self._members[incident]
            self._began.pop(incident, None)
        for slot in [at for at, names in self._slots.items() if names.isdisjoint(events)]:
            del self._slots[slot]

    def _company(self, event: Event) -> Iterator[Event]:
        """The stored events of the book that belong with one, and are in an incident."""
        for other in islice(self._book.of_server(event.server), MAX_LOOKED_AT):
            known = other.stored and other.id != event.id and other.incident.get("id")
            if known and belong_together(event, other) and self._in_time(event, other):
                yield other
        yield from self._at_moment(event)

    def _in_time(self, event: Event, other: Event) -> bool:
        began = self._began.get(str(other.incident["id"]), other.start_ms)
        return abs(event.start_ms - began) <= CHAIN_MS or belong_together(event, other, together_ms=0)

    def _at_moment(self, event: Event) -> Iterator[Event]:
        """Those of other servers that began at the same moment and may have it in common, if so many do seldom."""
        slot = event.start_ms // _SLOT_MS
        near = [e for e in self._in_slots(range(slot - 1, slot + 2)) if abs(e.start_ms - event.start_ms) <= MOMENT_MS]
        others = [e for e in near if e.server != event.server and kinds_of(e) & kinds_of(event)]
        servers = {e.server for e in others}
        if len(servers) + 1 < MANY_SERVERS:
            return
        usual = sum(len(self._slots.get(at, ())) for at in range(slot - _DAY_SLOTS, slot - 1))
        expected = usual * 2 * MOMENT_MS / HISTORY_MS
        if _at_least(len(servers), expected) < COINCIDENCE:
            yield from (e for e in others if e.incident.get("id"))

    def _in_slots(self, slots: Iterable[int]) -> Iterator[Event]:
        events = self._book.events
        return (events[name] for slot in slots for name in self._slots.get(slot, ()) if name in events)

    def _note(self, event: Event, name: str) -> None:
        event.incident = event.incident | {"id": name}
        self._members[name].add(event.id)
        self._began[name] = min(event.start_ms, self._began.get(name, event.start_ms))
        self._slots[event.start_ms // _SLOT_MS].add(event.id)

    def _new_name(self, event: Event) -> str:
        name, digits = incident_id(event), 4
        while self._members.get(name) and digits < 64:
            digits += 4
            name = incident_id(event, digits)
        return name

    def _merged(self, names: set[str], own: str) -> str:
        """The oldest of some incidents, which takes the members of the others as far as it may."""
        oldest, *rest = sorted(names, key=lambda name: (self._began.get(name, 0), name))
        for name in rest:
            if len(self._members[oldest]) + len(self._members[name]) > MAX_MEMBERS:
                if name == own:
                    return own
                continue
            for member in self.members(name):
                self._note(member, oldest)
                self._book.dirty.add(member.id)
            del self._members[name]
            self._began.pop(name, None)
        return oldest

    def _describe(self, name: str) -> None:
        members = self.members(name)
        ranked = causes.rank(members)
        for event in members:
            now = _as_map(name, members, event, ranked)
            if now != event.incident:
                event.incident = now
                self._book.dirty.add(event.id)

    def _described(self, name: str, members: list[Event], event: Event) -> dict[str, Any]:
        whole = members if any(e.id == event.id for e in members) else [*members, event]
        return _as_map(name, whole, event, causes.rank(whole))


def summary(events: Iterable[Event], incidents: Incidents, limit: int = 10) -> list[dict[str, Any]]:
    """The incidents of some events, those with most members first: {id, cause, confidence, members, since, servers}. Members are
    counted in the book; of incidents that are in none, among the events.
    """
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.incident.get("id"):
            found[str(event.incident["id"])].append(event)
    rows: list[dict[str, Any]] = []
    for name, some in found.items():
        members = {e.id: e for e in (*incidents.members(name), *some)}.values()
        cause = some[0].incident.get("likelyCause") or {}
        rows.append(
            {
                "id": name,
                "cause": cause.get("sentence"),
                "confidence": cause.get("confidence"),
                "members": len(members),
                "since": min(e.start_ms for e in members),
                "until": None if any(e.end_ms is None for e in members) else max(e.last_ms for e in members),
                "servers": sorted({e.server for e in members}),
            }
        )
    rows.sort(key=lambda row: (-row["members"], -row["since"], row["id"]))
    return rows[:limit]


def _as_map(name: str, members: list[Event], event: Event, ranked: list[Cause]) -> dict[str, Any]:
    cause = causes.likely(ranked)
    part = MEMBER if cause is None else CAUSE if cause.anomaly == event.id else EFFECT
    role = ALONE if len(members) < 2 else part
    return {
        "id": name,
        "role": role,
        "members": len(members),
        "servers": len({e.server for e in members}),
        "since": iso(min(e.start_ms for e in members)),
        "likelyCause": None if cause is None else cause.as_map(),
    }


def _at_least(count: int, expected: float) -> float:
    """P(K ≥ count) for K ~ Poisson(expected)."""
    term, below = math.exp(-min(expected, 700.0)), 0.0
    for k in range(count):
        below += term
        term *= expected / (k + 1)
    return max(0.0, 1.0 - below)
