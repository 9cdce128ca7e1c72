"""The likely cause of an incident, ranked by evidence: what began first, what a cause is likely to be, how far it reaches.

A candidate is a member of the incident, a figure that moved with a member without being an anomaly itself (a resource, load,
failures), or what members share: a server, a moment on several servers, a message of failures that is new. Each gets a score
from 0 to 1; the first two out of three parts, weighed by `_WEIGHTS`: the share of the others that began after it, how often its
kind is a cause and not a symptom, and the share of the others in its reach. Only one that stands out is called likely, and none
is ever called more: that things happen one after the other proves nothing. Pure; looks at events and their evidence alone.
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
_LEAK_FADING_MS: Final = 6 * 3_600_000
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
#: Score of what two tools say alike, and of each more up to two; what is left of what members share when one of them failed, or a
#: resource or load moved, shortly before.
_ALIKE: Final = 0.6
_ALIKE_MORE: Final = 0.05
_RIVALLED: Final = 0.7
#: What is left of a member's score when others say the same: it is struck by what they have in common.
_VICTIM: Final = 0.6
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
    chosen = sorted(members, key=lambda e: (_since(e), e.id))[:MAX_LOOKED_AT]
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
    said = _said_alike(members)
    alike = set() if said is None else {event.id for event in said[1]}
    for event in members:
        others = [e for e in members if (e.series, e.metric) != (event.series, event.metric)]
        if not others:
            continue
        reach, kind = sum(_reach(event, e) for e in others) / len(others), _kind(event)
        # A tool seldom harms other servers, and what is never a cause is none though it came first.
        plausible = (0.5 + 0.5 * reach) * min(1.0, kind / _KINDS[RESPONSE_TIME_SPIKE])
        first = _first(event, others)
        plausible *= (1.0 - _CHANCE ** _followers(event, others)) * (0.5 + 0.5 * first)
        score = event.confidence * plausible * _weighed(first, kind, reach) * (_VICTIM if event.id in alike else 1.0)
        sentence = f"{_began(event, members)}{_before(event, others)}{_followed(event, others)}"
        yield Cause(event.id, event.type, _since(event), score, 0.0, sentence)


def _since(event: Event) -> int:
    """When it began. What is found by comparing half hours began in the minute in which its figure rose."""
    if event.type not in (RESPONSE_TIME_SHIFT, THROUGHPUT_CHANGE):
        return event.start_ms
    rise = changes_in(event.evidence).get("calls_per_minute" if event.metric == "calls" else event.metric)
    return event.start_ms if rise is None or rise.since_ms is None else max(event.start_ms, rise.since_ms)


def _reach(event: Event, other: Event) -> float:
    return 0.0 if other.server != event.server else 1.0 if other.tool == event.tool else _NEIGHBOURS


def _followers(event: Event, others: Sequence[Event]) -> int:
    """How many did not begin before it; one alone is easily chance."""
    after = (e for e in others if _since(e) >= _since(event) - SAME_MS)
    return sum(_OWN if e.series == event.series else 1 for e in after)


def _kind(event: Event) -> float:
    if event.direction == "below" or event.value < event.median:
        return _DROP
    return _SURGE if event.type == THROUGHPUT_CHANGE else _KINDS[event.type]


def _first(event: Event, others: Sequence[Event]) -> float:
    """The share of others that began later, the less the later they did; those that began together count half."""
    fading_ms = _LEAK_FADING_MS if event.type == RESOURCE_LEAK else _FADING_MS
    return sum(_later(_since(event), _since(other), fading_ms) for other in others) / len(others)


def _later(since_ms: int, other_ms: int, fading_ms: int) -> float:
    gap = other_ms - since_ms
    if abs(gap) <= SAME_MS:
        return 0.5
    return math.exp(-max(0, gap - SOON_MS) / fading_ms) if gap > 0 else 0.0


def _began(event: Event, members: Sequence[Event]) -> str:
    when = clock(_since(event), event.last_ms)
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
    after = [e for e in others if _since(e) - _since(event) > SAME_MS]
    if not after:
        return ""
    own = [e for e in after if e.series == event.series]
    first = min(own or after, key=_since)
    effect = f"its calls {effect_words(first)}" if own else happened(first, quoted(first.tool))
    if own and first.type in (RESOURCE_LEAK, RESOURCE_SPIKE):
        effect = f"it {effect_words(first)}"
    return f", {lead(_since(first) - _since(event))} before {effect}"


def _followed(event: Event, others: Sequence[Event]) -> str:
    late = [e for e in others if _since(e) >= _since(event) - SAME_MS]
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
    first = 0.3 if change.since_ms is None else _move_first(change.since_ms, _since(event))
    reach = sum(_shows(member, name) for member in members) / len(members)
    score = strength * _weighed(first, _MOVES[name], reach)
    since_ms = _since(event) if change.since_ms is None else min(change.since_ms, _since(event))
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
    if change.since_ms is None or _since(event) - change.since_ms < 2 * MINUTE_MS:
        return f"{rose} as its calls {effect_words(event)}"
    early = lead(_since(event) - change.since_ms)
    return f"{rose} since {clock(change.since_ms, event.last_ms)}, {early} before its calls {effect_words(event)}"


# --- what members share -------------------------------------------------------------------------------------------------


def _shared(members: Sequence[Event]) -> Iterator[Cause]:
    """What members stand on, not one of them: a moment at which many servers, a server of which many tools went wrong, or what
    several tools say has failed them.
    """
    servers = Counter(server for server, _ in {(e.server, e.tool) for e in members})
    if len(servers) >= MANY_SERVERS:
        yield _of_servers(members, len(servers))
        return
    server, _ = servers.most_common(1)[0]
    own = [e for e in members if e.server == server]
    whole, alike = _of_server(server, own), _alike(server, own)
    if whole is not None and alike is not None:
        # What all tools say is what the whole server has in common: one candidate, the more telling one.
        yield replace(alike, score=max(whole.score, alike.score), since_ms=min(whole.since_ms, alike.since_ms))
    else:
        yield from (cause for cause in (whole, alike) if cause is not None)


def _of_servers(members: Sequence[Event], servers: int) -> Cause:
    since_ms, until_ms, together = _together([(_since(e), e.server) for e in members])
    score = (0.55 + 0.1 * min(together - MANY_SERVERS, 3)) * together / servers
    what = f"{counted(len(members), 'anomaly')} on {servers} servers began within {lead(until_ms - since_ms)}"
    if together < servers:
        what = f"anomalies on {together} of {servers} servers began within {lead(until_ms - since_ms)}"
    said, saying = _said_alike(members), ""
    if said is not None:
        alike = {e.server for e in said[1]}
        score = max(score, _alike_score(len(alike)) * (0.6 + 0.4 * len(alike) / servers) if len(alike) > 1 else 0.0)
        saying = f", and {counted(len(said[1]), 'tool')} fail with {quoted(said[0])}, which none of them said before"
    sentence = f"{what}{saying}: something they share (machine, network, an upstream service)"
    return Cause("", "shared", since_ms, max(score, 0.0), 0.0, sentence)


def _of_server(server: str, own: Sequence[Event]) -> Cause | None:
    tools = {e.tool for e in own}
    total = max([int(e.evidence.get("otherTools") or 0) + 1 for e in own] + [len(tools)])
    since_ms, until_ms, together = _together([(_since(e), e.tool) for e in own])
    if together < MANY_TOOLS:
        return None
    score = 0.5 + 0.35 * together / total if together > total / 2 else 0.3
    score *= _RIVALLED if _led_to(since_ms, until_ms, own) else 1.0
    what = f"{together} of {counted(total, 'tool')} of {quoted(server)} went wrong within {lead(until_ms - since_ms)}"
    return Cause("", "server", since_ms, score, 0.0, f"{what}: the server itself or what all of them depend on")


def _alike(server: str, own: Sequence[Event]) -> Cause | None:
    """Tools that fail and say the same, which none of them said before."""
    said = _said_alike(own)
    if said is None:
        return None
    message, saying = said
    tools = {e.tool for e in own}
    score = _alike_score(len(saying)) * (0.6 + 0.4 * len(saying) / len(tools))
    since_ms = min(_since(e) for e in saying)
    score *= _RIVALLED if _led_to(since_ms, since_ms, own) else 1.0
    who_say = f"{counted(len({e.tool for e in saying}), 'tool')} of {quoted(server)}"
    sentence = f"{who_say} fail with {quoted(message)} since {clock(since_ms, own[-1].last_ms)}, which none of them said before"
    return Cause("", "message", since_ms, score, 0.0, f"{sentence}: what they all call")


def _alike_score(saying: int) -> float:
    return _ALIKE + _ALIKE_MORE * min(saying - 2, 2)


def _said_alike(members: Sequence[Event]) -> tuple[str, list[Event]] | None:
    """The message that most failures of several tools have, new to each of them, and their events; None without any."""
    saying: dict[str, dict[Any, Event]] = {}
    for event in members:
        message = _new_message(event)
        if message:
            saying.setdefault(message, {}).setdefault(event.series, event)
    most = max(saying.items(), key=lambda one: len(one[1]), default=None)
    return None if most is None or len(most[1]) < 2 else (most[0], list(most[1].values()))


def _new_message(event: Event) -> str:
    for said in event.evidence.get("said") or ():
        if isinstance(said, dict) and said.get("new") and 2 * int(said.get("count") or 0) > int(said.get("of") or 0):
            return str(said.get("message") or "") if event.type == ERROR_RATE_SPIKE else ""
        break
    return ""


def _led_to(since_ms: int, until_ms: int, members: Sequence[Event]) -> bool:
    """Whether one that may have caused others began shortly before: a resource, load, or failures of a tool that was not struck
    itself at the moment of the others.
    """
    struck = {e.tool for e in members if since_ms <= _since(e) <= until_ms}
    return any(
        SAME_MS < since_ms - _since(e) <= SAME_MS + SOON_MS
        and (_kind(e) > _KINDS[ERROR_RATE_SPIKE] or (e.type == ERROR_RATE_SPIKE and e.tool not in struck))
        for e in members
    )


def _together(begun: Sequence[tuple[int, str]]) -> tuple[int, int, int]:
    """The moment at which most began: (from, to, how many names), of (start, name)."""
    ordered = sorted(begun)
    best = (ordered[0][0], ordered[0][0], 1)
    for place, (since_ms, _) in enumerate(ordered):
        near = [one for one in ordered[place:] if one[0] - since_ms <= SAME_MS]
        names = len({name for _, name in near})
        if names > best[2]:
            best = (since_ms, near[-1][0], names)
    return best


def _weighed(first: float, kind: float, reach: float) -> float:
    return _WEIGHTS[0] * first + _WEIGHTS[1] * kind + _WEIGHTS[2] * reach
