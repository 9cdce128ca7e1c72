"""Decides what to do about services that hang, were given up on, or are not needed any more. Pure: events in, actions out.

`now_ms` is a monotonic clock. A service that answers `ping` is alive, ready or not: a long catch-up is never disturbed. One that
does not, but works (uses the processor, commits), gets more time: it may only be busy, or be caught in a loop. What was just
started has a grace until its first answer, because kernels compile. Whatever is restarted again and again waits longer each time.
What an operator stopped stays stopped.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

#: Rounds of questions in a row (5 s each) that a running service leaves unanswered before it counts as hung.
MISSES_TO_KILL: Final = 3
#: The same for one that works meanwhile (2 minutes).
MISSES_TO_KILL_WORKING: Final = 24
#: How long a service may take from its start to its first answer.
START_GRACE_MS: Final = 90_000
#: Pauses before a restart: the first, doubled each time, up to the longest.
FIRST_PAUSE_MS: Final = 5_000
LONGEST_PAUSE_MS: Final = 300_000
#: After answering for this long, a service's next trouble counts as its first.
HEALTHY_AFTER_MS: Final = 600_000

#: supervisord's states in which a process exists.
_ALIVE: Final = frozenset({"STARTING", "RUNNING"})


@dataclass(frozen=True, slots=True)
class ProcessChanged:
    """supervisord says that a program is now in `state` (RUNNING, FATAL, STOPPED, …)."""

    name: str
    state: str


@dataclass(frozen=True, slots=True)
class RoundEnded:
    """Every service was asked; these answered. Of the others, `working` did something since the round before."""

    answered: Collection[str]
    working: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class IdleSeen:
    """No gateway and no metric for `idle_ms`; the pipeline wants to stop after `limit_ms` of it."""

    idle_ms: int
    limit_ms: int


@dataclass(frozen=True, slots=True)
class ShutdownBegan:
    """supervisord is stopping everything."""


Event = ProcessChanged | RoundEnded | IdleSeen | ShutdownBegan


@dataclass(frozen=True, slots=True)
class Kill:
    """End a process by force; supervisord starts it again."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start a program that supervisord gave up on."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class AskStates:
    """Ask supervisord for the state of every program: the watchdog was started after them."""


@dataclass(frozen=True, slots=True)
class StopPipeline:
    """Stop supervisord and all it runs."""

    reason: str


Action = Kill | Start | AskStates | StopPipeline


@dataclass(slots=True)
class _Watched:
    """One service. `since_ms` is when its state began; `troubles` counts restarts in a row."""

    state: str | None = None
    since_ms: int = 0
    misses: int = 0
    answered_since_ms: int | None = None
    troubles: int = 0
    not_before_ms: int = 0


@dataclass(slots=True)
class Watchdog:
    """The state of the watch over `names`; `handle` is its only way to change."""

    names: tuple[str, ...]
    started_ms: int
    _watched: dict[str, _Watched] = field(init=False)
    _stopping: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._watched = {name: _Watched(since_ms=self.started_ms) for name in self.names}

    def handle(self, event: Event, now_ms: int) -> list[Action]:
        """What to do now."""
        if isinstance(event, ShutdownBegan):
            self._stopping = True
        if self._stopping:
            return []
        if isinstance(event, ProcessChanged):
            self._changed(event, now_ms)
            return []
        if isinstance(event, IdleSeen):
            return self._idle(event, now_ms)
        if isinstance(event, RoundEnded):
            return self._round(frozenset(event.answered), frozenset(event.working), now_ms)
        return []

    def _changed(self, event: ProcessChanged, now_ms: int) -> None:
        watched = self._watched.get(event.name)
        if watched is None or watched.state == event.state:
            return
        begins = event.state == "STARTING" or watched.state not in _ALIVE
        watched.state = event.state
        if begins:
            watched.since_ms = now_ms
            watched.misses = 0
            watched.answered_since_ms = None
        if event.state == "FATAL":
            watched.not_before_ms = now_ms + _pause_ms(watched.troubles)

    def _idle(self, event: IdleSeen, now_ms: int) -> list[Action]:
        # Our own uptime counts too: a pipeline that was just started is wanted, however old its last metric.
        if min(event.idle_ms, now_ms - self.started_ms) < event.limit_ms:
            return []
        self._stopping = True
        return [StopPipeline(f"no gateway and no metric for {event.idle_ms // 1000} s")]

    def _round(self, answered: frozenset[str], working: frozenset[str], now_ms: int) -> list[Action]:
        actions: list[Action] = []
        unknown = [name for name, watched in self._watched.items() if watched.state is None]
        if unknown:
            actions.append(AskStates())
        for name, watched in self._watched.items():
            if name in answered:
                _answered(watched, now_ms)
            elif watched.state == "FATAL":
                actions += self._start(name, watched, now_ms)
            elif watched.state in _ALIVE:
                limit = MISSES_TO_KILL_WORKING if name in working else MISSES_TO_KILL
                actions += self._missed(name, watched, limit, now_ms)
        return actions

    def _start(self, name: str, watched: _Watched, now_ms: int) -> list[Action]:
        if now_ms < watched.not_before_ms:
            return []
        watched.troubles += 1
        watched.not_before_ms = now_ms + _pause_ms(watched.troubles)
        return [Start(name, f"supervisord gave it up; try {watched.troubles}")]

    def _missed(self, name: str, watched: _Watched, limit: int, now_ms: int) -> list[Action]:
        watched.misses += 1
        if watched.misses < limit or now_ms < watched.not_before_ms:
            return []
        if watched.answered_since_ms is None and now_ms - watched.since_ms < START_GRACE_MS:
            return []
        reason = f"runs but left {watched.misses} pings unanswered"
        watched.misses = 0
        watched.answered_since_ms = None
        watched.since_ms = now_ms
        watched.troubles += 1
        watched.not_before_ms = now_ms + _pause_ms(watched.troubles)
        return [Kill(name, reason)]


def _answered(watched: _Watched, now_ms: int) -> None:
    watched.misses = 0
    if watched.answered_since_ms is None:
        watched.answered_since_ms = now_ms
    elif now_ms - watched.answered_since_ms >= HEALTHY_AFTER_MS:
        watched.troubles = 0


def _pause_ms(troubles: int) -> int:
    """5 s, 10 s, 20 s … 5 min."""
    return min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS << min(troubles, 10))
