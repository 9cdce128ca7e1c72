"""Members of an incident as candidates for its cause: what began first, and how much of the rest is in its reach.

What others say alike has struck them too: such members count for less.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from services.detector.core.events import Event
from services.detector.core.incidents.candidates import (
    FADING_MS,
    LEAK_FADING_MS,
    SAME_MS,
    SLOW,
    SOON_MS,
    Cause,
    kind_of,
    since_of,
    weighed,
    whose,
)
from services.detector.core.metrics import ERROR_RATE_SPIKE, RESOURCE_LEAK, RESOURCE_SPIKE
from services.detector.core.telling.phrases import effect_words, happened
from services.detector.core.telling.words import RESOURCES, clock, counted, lead, quoted

#: What one that followed leaves to chance, and as how many one of the same tool counts.
_CHANCE: Final = 0.35
_OWN: Final = 2
#: How much of others the tools of one server are within its reach.
_NEIGHBOURS: Final = 0.7
#: What is left of a member's score when others say the same: it is struck by what they have in common.
_VICTIM: Final = 0.6


def among_members(members: Sequence[Event], alike: Collection[str]) -> Iterator[Cause]:
    """Each member that others may follow from; `alike`: ids of those that say the same as others."""
    if len(members) < 2:
        return
    for event in members:
        others = [e for e in members if not _is_one_figure(event, e)]
        if not others:
            continue
        reach, kind = sum(_reach(event, e) for e in others) / len(others), kind_of(event)
        # A tool seldom harms other servers, and what is never a cause is none though it came first.
        plausible = (0.5 + 0.5 * reach) * min(1.0, kind / SLOW)
        first = _first(event, others)
        plausible *= (1.0 - _CHANCE ** _followers(event, others)) * (0.5 + 0.5 * first)
        score = event.confidence * plausible * weighed(first, kind, reach) * (_VICTIM if event.id in alike else 1.0)
        sentence = f"{_began(event, members)}{_before(event, others)}{_followed(event, others)}"
        yield Cause(event.id, event.type, since_of(event), score, 0.0, sentence)


def _is_one_figure(event: Event, other: Event) -> bool:
    """Whether both are about the same: a resource of a server's tools is that of its one process."""
    if event.metric != other.metric or event.server != other.server:
        return False
    return event.tool == other.tool or event.metric in RESOURCES


def _reach(event: Event, other: Event) -> float:
    return 0.0 if other.server != event.server else 1.0 if other.tool == event.tool else _NEIGHBOURS


def _followers(event: Event, others: Sequence[Event]) -> int:
    """How many did not begin before it; one alone is easily chance."""
    after = (e for e in others if since_of(e) >= since_of(event) - SAME_MS)
    return sum(_OWN if e.series == event.series else 1 for e in after)


def _first(event: Event, others: Sequence[Event]) -> float:
    """The share of others that began later, the less the later they did; those that began together count half."""
    fading_ms = LEAK_FADING_MS if event.type == RESOURCE_LEAK else FADING_MS
    return sum(_later(since_of(event), since_of(other), fading_ms) for other in others) / len(others)


def _later(since_ms: int, other_ms: int, fading_ms: int) -> float:
    gap = other_ms - since_ms
    if abs(gap) <= SAME_MS:
        return 0.5
    return math.exp(-max(0, gap - SOON_MS) / fading_ms) if gap > 0 else 0.0


def _began(event: Event, members: Sequence[Event]) -> str:
    when = clock(since_of(event), event.last_ms)
    said = _said(event) if event.type == ERROR_RATE_SPIKE else ""
    since = "since" if event.type in (RESOURCE_LEAK, RESOURCE_SPIKE) else "at"
    return f"{happened(event, whose(event, members))} {since} {when}{said}"


def _said(event: Event) -> str:
    """What most of its failing calls said, if most said the same."""
    for said in event.evidence.get("said") or ():
        if isinstance(said, dict) and 2 * int(said.get("count") or 0) > int(said.get("of") or 0):
            return f" ({quoted(str(said.get('message')))}, {said['count']} of {said['of']} failures seen)"
        break
    return ""


def _before(event: Event, others: Sequence[Event]) -> str:
    """`, 6 min before its calls became slow`: the first that it may have caused."""
    after = [e for e in others if since_of(e) - since_of(event) > SAME_MS]
    if not after:
        return ""
    own = [e for e in after if e.series == event.series]
    first = min(own or after, key=since_of)
    effect = f"its calls {effect_words(first)}" if own else happened(first, quoted(first.tool))
    if own and first.type in (RESOURCE_LEAK, RESOURCE_SPIKE):
        effect = f"it {effect_words(first)}"
    return f", {lead(since_of(first) - since_of(event))} before {effect}"


def _followed(event: Event, others: Sequence[Event]) -> str:
    late = [e for e in others if since_of(e) >= since_of(event) - SAME_MS]
    tools = {e.tool for e in late if e.server == event.server and e.tool != event.tool}
    servers = {e.server for e in late} - {event.server}
    total = max(int(event.evidence.get("otherTools") or 0), len(tools))
    text = f"; {len(tools)} of {counted(total, 'other tool')} of the server followed" if tools else ""
    return f"{text}; {counted(len(servers), 'other server')} too" if servers else text
