"""The likely cause of an incident, ranked by evidence: what began first, what a cause is likely to be, how far it reaches.

A candidate is a member of the incident, a figure that moved with a member without being an anomaly itself (a resource, load,
failures), or what members share: a server, or a moment on several servers. Each gets a score from 0 to 1 out of three parts,
weighed by `_WEIGHTS`: the share of the others that began after it, how often its kind is a cause and not a symptom, and the
share of the others in its reach. Only one that stands out is called likely, and none is ever called more: that things happen
one after the other proves nothing. Pure; looks at events and the evidence they hold alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from services.detector.core.events import Event
from services.detector.core.evidence import Change, changes_in
from services.detector.core.metrics import (
    ERROR_RATE_SPIKE,
    MINUTE_MS,
    RESOURCE_LEAK,
    RESOURCE_SPIKE,
    RESPONSE_TIME_SHIFT,
    RESPONSE_TIME_SPIKE,
    THROUGHPUT_CHANGE,
)
from services.detector.core.phrases import effect_words, happened, is_of_server, who
from services.detector.core.words import UNITS, WORDS, brief, clock, counted, lead, quoted
from shared.timespan import iso

#: What makes a cause: first, of a kind that causes, reach.
_WEIGHTS: Final = (0.45, 0.35, 0.2)
#: How often a kind is the cause of what else is seen, not its symptom: judgement, not measurement.
_KINDS: Final = {
    RESOURCE_LEAK: 0.95,
    RESOURCE_SPIKE: 0.85,
    ERROR_RATE_SPIKE: 0.55,
    RESPONSE_TIME_SHIFT: 0.45,
    RESPONSE_TIME_SPIKE: 0.4,
}
_SURGE, _DROP = 0.9, 0.05
_MOVES: Final = {"calls_per_minute": 0.85, "cpu": 0.75, "memory": 0.75, "disk_io": 0.75, "error_rate": 0.5}
#: Two things that began within this of each other began together: when an anomaly began is known to a minute or two.
SAME_MS: Final = 150_000
#: An effect shows soon: what follows later than this is less and less likely to be one.
SOON_MS: Final = 10 * MINUTE_MS
_FADING_MS: Final = 30 * MINUTE_MS
#: What one that followed leaves to chance, and as how many one of the same tool counts.
_CHANCE: Final = 0.35
_OWN: Final = 2
#: How much of others the tools of one server are within its reach.
_NEIGHBOURS: Final = 0.7
#: A candidate is the likely cause from this score on, and when it leads the next by so much.
LIKELY: Final = 0.5
LEAD: Final = 0.05
#: Tools of a server, and servers, that are no coincidence.
MANY_TOOLS: Final = 3
MANY_SERVERS: Final = 3
#: Members that are looked at, earliest first: what came later caused nothing.
MAX_LOOKED_AT: Final = 30
NAMED: Final = 4


@dataclass(frozen=True, slots=True)
class Cause:
    """A candidate. `anomaly`: the member's id, empty when it is none. `confidence`: the score, less when others come near."""

    anomaly: str
    kind: str
    since_ms: int
    score: float
    confidence: float
    sentence: str

    def as_map(self) -> dict[str, Any]:
        """Plain values for answers and the database."""
        return {
            "anomaly": self.anomaly or None,
            "kind": self.kind,
            "since": iso(self.since_ms),
            "score": self.score,
            "confidence": self.confidence,
            "sentence": self.sentence,
        }


def rank(members: Sequence[Event]) -> list[Cause]:
    """The candidates, likeliest first, at most NAMED."""
    chosen = sorted(members, key=lambda e: (e.start_ms, e.id))[:MAX_LOOKED_AT]
    found = [*_members(chosen), *_moves(chosen), *_shared(chosen)]
    found.sort(key=lambda cause: (-cause.score, cause.since_ms, cause.anomaly))
    total = [cause.score for cause in found[:2]]
    ranked = []
    for place, cause in enumerate(found[:NAMED]):
        rival = total[1 - place] if place < 2 and len(total) == 2 else total[0] if place else 0.0
        doubt = 0.5 * min(1.0, rival / cause.score) ** 2 if cause.score else 0.0
        ranked.append(replace(cause, score=round(cause.score, 3), confidence=round(cause.score * (1.0 - doubt), 2)))
    return ranked


def likely(ranked: Sequence[Cause]) -> Cause | None:
    """The one that stands out, if one does."""
    if not ranked or ranked[0].score < LIKELY:
        return None
    return ranked[0] if len(ranked) == 1 or ranked[0].score - ranked[1].score >= LEAD else None


# --- members --------------------------------------------------------------------------------------------------------


def _members(members: Sequence[Event]) -> Iterator[Cause]:
    if len(members) < 2:
        return
    for event in members:
        others = [e for e in members if (e.series, e.metric) != (event.series, event.metric)]
        if not others:
            continue
        reach, kind = sum(_reach(event, e) for e in others) / len(others), _kind(event)
        # A tool seldom harms other servers, and what is never a cause is none though it came first.
        plausible = (0.5 + 0.5 * reach) * min(1.0, kind / _KINDS[RESPONSE_TIME_SPIKE])
        first = _first(event.start_ms, others)
        plausible *= (1.0 - _CHANCE ** _followers(event, others)) * (0.5 + 0.5 * first)
        score = event.confidence * plausible * _weighed(first, kind, reach)
        sentence = f"{_began(event, members)}{_before(event, others)}{_followed(event, others)}"
        yield Cause(event.id, event.type, event.start_ms, score, 0.0, sentence)


def _reach(event: Event, other: Event) -> float:
    return 0.0 if other.server != event.server else 1.0 if other.tool == event.tool else _NEIGHBOURS


def _followers(event: Event, others: Sequence[Event]) -> int:
    """How many did not begin before it; one alone is easily chance."""
    after = (e for e in others if e.start_ms >= event.start_ms - SAME_MS)
    return sum(_OWN if e.series == event.series else 1 for e in after)


def _kind(event: Event) -> float:
    if event.direction == "below" or event.value < event.median:
        return _DROP
    return _SURGE if event.type == THROUGHPUT_CHANGE else _KINDS[event.type]


def _first(since_ms: int, others: Sequence[Event]) -> float:
    """The share of others that began later; those that began together count half."""
    return sum(_later(since_ms, other.start_ms) for other in others) / len(others)


def _later(since_ms: int, other_ms: int) -> float:
    gap = other_ms - since_ms
    if abs(gap) <= SAME_MS:
        return 0.5
    return 0.5 + 0.5 * math.exp(-max(0, gap - SOON_MS) / _FADING_MS) if gap > 0 else 0.0


def _began(event: Event, members: Sequence[Event]) -> str:
    when = clock(event.start_ms, event.last_ms)
    said = _said(event) if event.type == ERROR_RATE_SPIKE else ""
    since = "since" if event.type in (RESOURCE_LEAK, RESOURCE_SPIKE) else "at"
    return f"{happened(event, _who(event, members))} {since} {when}{said}"


def _said(event: Event) -> str:
    """What most of its failing calls said, if most said the same."""
    for said in event.evidence.get("said") or ():
        if isinstance(said, dict) and 2 * int(said.get("count") or 0) > int(said.get("of") or 0):
            return f" ({quoted(str(said.get('message')))}, {said['count']} of {said['of']} failures seen)"
        break
    return ""


def _who(event: Event, members: Sequence[Event]) -> str:
    several = any(member.server != event.server for member in members)
    if is_of_server(event):
        return who(event)
    return f"{quoted(event.tool)} of {quoted(event.server)}" if several else quoted(event.tool)


def _before(event: Event, others: Sequence[Event]) -> str:
    """`, 6 min before its calls became slow`: the first that it may have caused."""
    after = [e for e in others if e.start_ms - event.start_ms > SAME_MS]
    if not after:
        return ""
    own = [e for e in after if e.series == event.series]
    first = min(own or after, key=lambda e: e.start_ms)
    effect = f"its calls {effect_words(first)}" if own else happened(first, quoted(first.tool))
    if own and first.type in (RESOURCE_LEAK, RESOURCE_SPIKE):
        effect = f"it {effect_words(first)}"
    return f", {lead(first.start_ms - event.start_ms)} before {effect}"


def _followed(event: Event, others: Sequence[Event]) -> str:
    late = [e for e in others if e.start_ms >= event.start_ms - SAME_MS]
    tools = {e.tool for e in late if e.server == event.server and e.tool != event.tool}
    servers = {e.server for e in late} - {event.server}
    total = max(int(event.evidence.get("otherTools") or 0), len(tools))
    text = f"; {len(tools)} of {counted(total, 'other tool')} of the server followed" if tools else ""
    return f"{text}; {counted(len(servers), 'other server')} too" if servers else text


# --- what moved without being an anomaly ------------------------------------------------------------------------------


def _moves(members: Sequence[Event]) -> Iterator[Cause]:
    anomalous = {(e.series, "calls_per_minute" if e.metric == "calls" else e.metric) for e in members}
    seen: set[tuple[Any, str]] = set()
    for event in members:
        for name, change in changes_in(event.evidence).items():
            key = (event.series, name)
            if name not in _MOVES or key in anomalous or key in seen or not change.moved(name):
                continue
            if event.metric == "calls" or (name == "error_rate" and event.metric != "response_time"):
                continue
            seen.add(key)
            yield _move(event, name, change, members)


def _move(event: Event, name: str, change: Change, members: Sequence[Event]) -> Cause:
    strength = min(1.0, 0.6 + 0.2 * math.log2(min(change.times, 1e6)))
    first = 0.3 if change.since_ms is None else _move_first(change.since_ms, event.start_ms)
    reach = sum(_shows(member, name) for member in members) / len(members)
    score = strength * _weighed(first, _MOVES[name], reach)
    since_ms = event.start_ms if change.since_ms is None else min(change.since_ms, event.start_ms)
    return Cause("", name, since_ms, score, 0.0, _move_words(event, name, change, members))


def _move_first(since_ms: int, start_ms: int) -> float:
    """A minute's figure is dated by the minute's beginning."""
    early = start_ms - since_ms
    return 1.0 if early >= 2 * MINUTE_MS else 0.6 if early >= -MINUTE_MS else 0.1


def _shows(member: Event, name: str) -> bool:
    change = changes_in(member.evidence).get(name)
    return change is not None and change.moved(name)


def _move_words(event: Event, name: str, change: Change, members: Sequence[Event]) -> str:
    unit = UNITS.get(name, "a minute")
    rose = f"{WORDS[name]} of {_who(event, members)} rose from {brief(change.before)} to {brief(change.during)} {unit}"
    if change.since_ms is None or event.start_ms - change.since_ms < 2 * MINUTE_MS:
        return f"{rose} as its calls {effect_words(event)}"
    early = lead(event.start_ms - change.since_ms)
    return f"{rose} since {clock(change.since_ms, event.last_ms)}, {early} before its calls {effect_words(event)}"


# --- what members share -------------------------------------------------------------------------------------------------


def _shared(members: Sequence[Event]) -> Iterator[Cause]:
    """A server of which many tools, or a moment at which many servers, went wrong: what they stand on, not one of them."""
    servers = Counter(server for server, _ in {(e.server, e.tool) for e in members})
    if len(servers) >= MANY_SERVERS:
        begun = sorted(min(e.start_ms for e in members if e.server == server) for server in servers)
        together = sum(ms - begun[0] <= SAME_MS for ms in begun)
        score = (0.55 + 0.1 * min(together - MANY_SERVERS, 3)) * together / len(servers)
        what = f"{counted(len(members), 'anomaly')} on {len(servers)} servers began within {lead(begun[-1] - begun[0])}"
        yield Cause(
            "", "shared", begun[0], score, 0.0, f"{what}: something they share (machine, network, an upstream service)"
        )
        return
    server, tools = servers.most_common(1)[0]
    own = [e for e in members if e.server == server]
    total = max([int(e.evidence.get("otherTools") or 0) + 1 for e in own] + [tools])
    begun = sorted(min(e.start_ms for e in own if e.tool == tool) for tool in {e.tool for e in own})
    together = sum(ms - begun[0] <= SAME_MS for ms in begun)
    if together >= MANY_TOOLS:
        score = 0.5 + 0.35 * together / total if together > total / 2 else 0.3
        tools_of, within = f"{counted(total, 'tool')} of {quoted(server)}", lead(begun[together - 1] - begun[0])
        what = f"{together} of {tools_of} went wrong within {within}"
        yield Cause("", "server", begun[0], score, 0.0, f"{what}: the server itself or what all of them depend on")


def _weighed(first: float, kind: float, reach: float) -> float:
    return _WEIGHTS[0] * first + _WEIGHTS[1] * kind + _WEIGHTS[2] * reach
