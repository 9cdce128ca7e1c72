"""What members of an incident have in common as a candidate for its cause: a server, a moment, or a message.

Members that began together, or fail with a message that is new to all of them, were struck by what they share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from services.detector.core.events import Event
from services.detector.core.incidents.candidates import FAILING, SAME_MS, SOON_MS, Cause, kind_of, since_of
from services.detector.core.metrics import (
    ERROR_RATE_SPIKE,
    RESPONSE_TIME_SHIFT,
    RESPONSE_TIME_SPIKE,
    THROUGHPUT_CHANGE,
)
from services.detector.core.telling.words import RESOURCES, clock, counted, lead, quoted

#: Tools of a server, and servers, that are no coincidence.
MANY_TOOLS: Final = 3
MANY_SERVERS: Final = 3
#: What servers may have in common, besides a resource of the machine.
NETWORK, LOAD = "network", "load"
_ANY: Final = frozenset((NETWORK, LOAD, *RESOURCES))
#: Score of what two tools say alike, and of each more up to two; what is left of what members share when one of them failed, or a
#: resource or load moved, shortly before.
_ALIKE: Final = 0.6
_ALIKE_MORE: Final = 0.05
_RIVALLED: Final = 0.7


class Alike(NamedTuple):
    """A message, the events of the tools whose failures have it and never had it before, and of those that had."""

    message: str
    new_to: list[Event]
    known_to: list[Event]

    @property
    def events(self) -> list[Event]:
        """Of all that say it."""
        return self.new_to + self.known_to

    @property
    def is_new(self) -> str:
        """To whom it is, as a clause."""
        to = f"{len(self.new_to)} of them never said" if self.known_to else "none of them said"
        return f"which {to} before"


def among_shared(members: Sequence[Event]) -> Iterator[Cause]:
    """What members stand on, not one of them: a moment at which many servers, a server of which many tools went wrong, or what
    several tools say has failed them.
    """
    servers = Counter(server for server, _ in {(e.server, e.tool) for e in members})
    if len(servers) >= MANY_SERVERS:
        of_servers = _of_servers(members, len(servers))
        if of_servers is not None:
            yield of_servers
        return
    server, _ = servers.most_common(1)[0]
    own = [e for e in members if e.server == server]
    said = said_alike(own)
    whole = _of_server(server, own, said)
    alike = None if said is None else _alike(server, own, said)
    if whole is not None and alike is not None and said is not None:
        # What all tools say is what the whole server has in common: one candidate, the one that tells of more tools.
        cause, together = whole
        score = max(cause.score, alike.score)
        yield replace(cause if together > len(said.events) else alike, score=score)
    elif whole is not None:
        yield whole[0]
    elif alike is not None:
        yield alike


def _of_servers(members: Sequence[Event], servers: int) -> Cause | None:
    since_ms, until_ms, together = _together([(since_of(e), e.server) for e in members])
    struck = [e for e in members if since_ms <= since_of(e) <= until_ms]
    kind = max(sorted(set().union(*map(kinds_of, struck))), key=lambda kind: len(_servers_of(struck, kind)))
    struck, together = [e for e in struck if kind in kinds_of(e)], len(_servers_of(struck, kind))
    said = said_alike(members)
    alike = set() if said is None else {e.server for e in said.new_to}
    if together < MANY_SERVERS and len(alike) < 2:
        return None
    score = (0.55 + 0.1 * min(together - MANY_SERVERS, 3)) * together / servers
    span = lead(max(map(since_of, struck)) - min(map(since_of, struck)))
    what = f"{counted(len(members), 'anomaly')} on {servers} servers began within {span}"
    if len(struck) < len(members):
        what = f"anomalies on {together} of {servers} servers began within {span}"
    if len(alike) > 1:
        score = max(score, _alike_score(len(alike)) * (0.6 + 0.4 * len(alike) / servers))
    sentence = f"{what}{_saying(said)}: something they share (machine, network, an upstream service)"
    return Cause("", "shared", since_ms, max(score, 0.0), 0.0, sentence)


def kinds_of(event: Event) -> frozenset[str]:
    """What an event may have in common with those of other servers: of failures or silence it may be the network, of a resource
    the machine; calls are slow for any of these.
    """
    if event.type in (RESPONSE_TIME_SPIKE, RESPONSE_TIME_SHIFT):
        return _ANY
    if event.type == THROUGHPUT_CHANGE:
        return frozenset((LOAD if event.value > event.median else NETWORK,))
    return frozenset((NETWORK if event.type == ERROR_RATE_SPIKE else event.metric,))


def _servers_of(members: Sequence[Event], kind: str) -> set[str]:
    return {e.server for e in members if kind in kinds_of(e)}


def _of_server(server: str, own: Sequence[Event], said: Alike | None) -> tuple[Cause, int] | None:
    """With how many of its tools went wrong together."""
    tools = {e.tool for e in own}
    total = max([int(e.evidence.get("otherTools") or 0) + 1 for e in own] + [len(tools)])
    since_ms, until_ms, together = _together([(since_of(e), e.tool) for e in own])
    if together < MANY_TOOLS:
        return None
    score = 0.5 + 0.35 * together / total if together > total / 2 else 0.3
    score *= _RIVALLED if _led_to(since_ms, until_ms, own) else 1.0
    what = f"{together} of {counted(total, 'tool')} of {quoted(server)} went wrong within {lead(until_ms - since_ms)}"
    sentence = f"{what}{_saying(said)}: the server itself or what all of them depend on"
    return Cause("", "server", since_ms, score, 0.0, sentence), together


def _saying(said: Alike | None) -> str:
    if said is None:
        return ""
    return f", and {counted(len(said.events), 'tool')} fail with {quoted(said.message)}, {said.is_new}"


def _alike(server: str, own: Sequence[Event], said: Alike) -> Cause:
    """Tools that fail and say the same, which is new to several of them."""
    saying = said.new_to
    tools = {e.tool for e in own}
    score = _alike_score(len(saying)) * (0.6 + 0.4 * len(saying) / len(tools))
    since_ms = min(since_of(e) for e in saying)
    score *= _RIVALLED if _led_to(since_ms, since_ms, own) else 1.0
    who_say = f"{counted(len({e.tool for e in said.events}), 'tool')} of {quoted(server)}"
    when = clock(min(since_of(e) for e in said.events), own[-1].last_ms)
    sentence = f"{who_say} fail with {quoted(said.message)} since {when}, {said.is_new}"
    return Cause("", "message", since_ms, score, 0.0, f"{sentence}: what they all call")


def _alike_score(saying: int) -> float:
    return _ALIKE + _ALIKE_MORE * min(saying - 2, 2)


def said_alike(members: Sequence[Event]) -> Alike | None:
    """The message that most failures of several tools have, and that is new to most tools; None without any."""
    saying: dict[str, Alike] = {}
    seen = set()
    for event in members:
        message, new = _message(event)
        if message and (message, event.series) not in seen:
            seen.add((message, event.series))
            alike = saying.setdefault(message, Alike(message, [], []))
            (alike.new_to if new else alike.known_to).append(event)
    most = max(saying.values(), key=lambda alike: len(alike.new_to), default=None)
    return None if most is None or len(most.new_to) < 2 else most


def _message(event: Event) -> tuple[str, bool]:
    """What most failures of an event say, if anything, and whether that is new."""
    said = next((one for one in event.evidence.get("said") or () if isinstance(one, dict)), None)
    if said is None or event.type != ERROR_RATE_SPIKE or 2 * int(said.get("count") or 0) <= int(said.get("of") or 0):
        return "", False
    return str(said.get("message") or ""), bool(said.get("new"))


def _led_to(since_ms: int, until_ms: int, members: Sequence[Event]) -> bool:
    """Whether one that may have caused others began shortly before: a resource, load, or failures of a tool that was not struck
    itself at the moment of the others.
    """
    struck = {e.tool for e in members if since_ms <= since_of(e) <= until_ms}
    return any(
        SAME_MS < since_ms - since_of(e) <= SAME_MS + SOON_MS
        and (kind_of(e) > FAILING or (e.type == ERROR_RATE_SPIKE and e.tool not in struck))
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
