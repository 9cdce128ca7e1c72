"""What `errors.judge_failures` says, in plain Python with named fields: the measure it is tested by."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

IDLE, OPEN = "idle", "open"
OPENED, INSIDE, QUIET, ADOPTED = 1.0, 2.0, 3.0, 4.0

_MINUTE = 60_000.0
_TIMES = (2.0, 4.0, 8.0, 16.0, 32.0)
_ARL = (2_000.0, 20_000.0, 200_000.0)
_SURE = (0.8, 0.65, 0.55)
_STORED = 2
_WORKS = 0.3
_LOOKED_AT = {times * 2**power for times in (4, 5, 6, 7) for power in range(20)}


@dataclass
class Rise:
    """A one-sided CUSUM that listens for one rate of the mixture."""

    place: int
    ratio: float = 0.0
    since: float = 0.0
    after: int = 0
    failures: int = 0


@dataclass
class Failures:
    """`errors.judge_failures` at a given call rate, without the windows."""

    rate: float
    failed: float = 0.0
    seen: float = 0.0
    faded: float = 0.0
    newest: float = 0.0
    usual: float = 0.0
    due: float = 0.0
    mixture: list[float] = field(default_factory=lambda: [0.0] * 5)
    slow: Rise = field(default_factory=lambda: Rise(1))
    fast: Rise = field(default_factory=lambda: Rise(4))
    clock: int = 0
    start: float = 0.0
    calls: int = 0
    failures: int = 0
    phase: str = IDLE
    last: float = 0.0
    quiet: int = 0
    level: int = 0
    next: tuple[int, int] = (0, 0)
    closing: float = 0.0
    #: Failures and calls when the event was last sure to go on.
    noted: tuple[float, float] = (0, 0)
    #: The event is one since the tool's first calls; the highest logarithm of its likelihood ratio.
    since_first: bool = False
    best: float = 0.0

    def judge(self, t: float, failed: bool) -> list[tuple[float, float, int]]:
        """The happenings of one call: (kind, start, level)."""
        if t < self.newest - 15 * _MINUTE:
            return []
        if self.phase == IDLE and self.seen >= self.due:
            self._take_usual(max(self.newest, t))
        if self.clock == 0:
            self.start = t
        found = self.end_if_silent(t) if self.phase == OPEN else []
        self.newest = max(self.newest, t)
        if found:
            self._take_usual(self.newest)
        return found + (self._idle(t, failed) if self.phase == IDLE else self._open(t, failed))

    def _idle(self, t: float, failed: bool) -> list[tuple[float, float, int]]:
        self.weigh(failed)
        for rise in (self.slow, self.fast):
            self.follow(rise, t, failed)
        self.clock += 1
        self.seen += 1
        if not failed:
            return []
        self.failed += 1
        self.due = 0.0
        if self._never_worked(t):
            return [(OPENED, self.start, self.level)]
        level = self.level_reached() if self.slow.failures >= 3 else 0
        if not level:
            return []
        self.begin(self.likelier(), t, level)
        if level >= _STORED:
            self._unlearn()
        return [(OPENED, self.start, level)]

    def _open(self, t: float, failed: bool) -> list[tuple[float, float, int]]:
        self.weigh(failed)
        self.clock += 1
        self.calls += 1
        self.failures += failed
        if self.level < _STORED:
            self.seen += 1
            self.failed += failed
            self._take_usual(self.newest)
        elif t - self.start >= 1_440 * _MINUTE:
            self.next = (self.next[0] + failed, self.next[1] + 1)
        self.watch_end(t, failed)
        level = self._level_when_new() if self.since_first else self.level_reached()
        level = level if failed else 0
        if level > self.level:
            if self.level < _STORED <= level:
                self._unlearn()
            self.level = level
            self.closing = self._cap()
            return [(OPENED, self.start, level)]
        if self.is_over(t):
            if self.since_first:
                self.failed, self.seen = self.failures - self.noted[0], self.calls - self.noted[1]
            self.end()
            return [(INSIDE, self.start, self.level)]
        if self.next[1] >= 200:
            self.failed, self.seen = self.next
            self._take_usual(self.newest)
            self.end()
            return [(ADOPTED, self.start, self.level)]
        looked_at = failed and self.level >= _STORED and self.failures in _LOOKED_AT
        return [(OPENED, self.start, self.level)] if looked_at else []

    def _never_worked(self, t: float) -> bool:
        """Whether an event begins because the tool has failed since its first calls."""
        if self.level or not self.start or self.seen != self.clock or self.failed < 3:
            return False
        self.calls, self.failures, self.best = self.clock, int(self.failed), -math.inf
        level = self._level_when_new()
        if level:
            self.phase, self.level, self.last, self.quiet, self.next = OPEN, level, max(t, self.start), 0, (0, 0)
            self.failed, self.seen, self.usual, self.mixture = 0.0, 0.0, _WORKS, [0.0] * 5
            self.since_first, self.closing, self.noted = True, self._cap(), (self.failures, self.calls)
        return bool(level)

    def _level_when_new(self) -> int:
        """By how much likelier all calls so far are of a tool that does not work."""
        as_it_works = _log_likelihood(self.failures, self.calls, _WORKS)
        broken = [_log_likelihood(self.failures, self.calls, q) - as_it_works for q in (0.5, 0.8, 0.95)]
        most = max(broken)
        self.best = max(self.best, most + math.log(sum(math.exp(gain - most) for gain in broken) / 3))
        return 3 if self.best >= math.log(200) else 2 if self.best >= math.log(20) else 0

    def likelier(self) -> Rise:
        """The rise since which an event is said to go on."""
        return self.fast if self.fast.failures >= 3 and self.fast.ratio > self.slow.ratio else self.slow

    def begin(self, rise: Rise, t: float, level: int) -> None:
        """An event is under way."""
        self.start, self.calls, self.failures = rise.since, self.clock - rise.after, rise.failures
        self.phase, self.level, self.last, self.quiet, self.next = OPEN, level, max(t, self.start), 0, (0, 0)
        self.since_first, self.closing, self.noted = False, self._cap(), (self.failures, self.calls)

    def _cap(self) -> float:
        return 4.0 + math.log(1 + self.calls / 32) if self.level >= _STORED else 3.0

    def is_over(self, t: float) -> bool:
        """Whether the calls since the last failure say that the event has ended."""
        if self.quiet < (3 if t - self.last >= 60 * _MINUTE else 5) or t - self.last < 2 * _MINUTE:
            return False
        return self.closing == 0 or self._evidence_of_end() >= self._cap() + 2

    def _evidence_of_end(self) -> float:
        """How much likelier it is that what was noted was followed by usual calls than that it all is one."""
        since = (self.failures - self.noted[0], self.calls - self.noted[1])
        if since[1] < 1:
            return 0.0
        as_usual = _log_likelihood(*since, self.usual)
        if since[0] > self.usual * since[1] and _log_likelihood(*since, since[0] / since[1]) - as_usual > 2:
            return 0.0
        noted = (max(self.noted[0] - 1, 0), max(self.noted[1] - 1, 1))
        whole = (noted[0] + since[0], noted[1] + since[1])
        return _log_likelihood(*noted, noted[0] / noted[1]) + as_usual - _log_likelihood(*whole, whole[0] / whole[1])

    def _suspected(self, place: int) -> float:
        return min(_TIMES[place] * self.usual, max(0.95, 0.5 + 0.5 * self.usual))

    def weigh(self, failed: bool) -> None:
        """Move the mixture by one call."""
        for k in range(5):
            self.mixture[k] = min((1 + self.mixture[k]) * self._ratio(k, failed), 1e280)

    def _ratio(self, place: int, failed: bool) -> float:
        rate = self._suspected(place)
        return rate / self.usual if failed else (1 - rate) * (1 / (1 - self.usual))

    def follow(self, rise: Rise, t: float, failed: bool) -> None:
        """Move a CUSUM by one call."""
        if failed and rise.ratio == 0:
            rise.ratio, rise.since, rise.after, rise.failures = 1.0, t, self.clock, 0
        rise.ratio = min(rise.ratio * self._ratio(rise.place, failed), 1e280)
        rise.failures += failed
        if not failed and rise.ratio < 1:
            rise.ratio = 0.0

    def level_reached(self) -> int:
        """The least sensitive level at which the evidence suffices, 0 for none."""
        jumps = [self._suspected(k) / self.usual for k in range(5)]
        excess = sum((jump - 1) / math.log(jump) if jump > 1 else 1.0 for jump in jumps) / 5
        busy = max(1.0, 0.5 * self.rate)
        calls = sum(self.mixture) / 5 / (busy * busy) * excess
        return max((i + 1 for i, a in enumerate(_ARL) if calls * _SURE[i] >= a), default=0)

    def watch_end(self, t: float, failed: bool) -> None:
        """Move the statistic that says whether an event is still going on."""
        least = 2 * self.usual
        n, p = max(self.calls, 1), self.failures / max(self.calls, 1)
        lower = (p + 2 / n - 2 * math.sqrt(p * (1 - p) / n + 1 / n**2)) / (1 + 4 / n)
        rate = min(max(lower, least), max(0.9, 0.5 + 0.5 * self.usual))
        ratio = rate / self.usual if failed else (1 - rate) / (1 - self.usual)
        self.closing = min(max(self.closing + math.log(ratio), 0.0), self._cap())
        self.quiet += 1
        if self.closing == self._cap():
            self.last, self.quiet, self.noted = max(self.last, t), 0, (self.failures, self.calls)

    def _take_usual(self, t: float) -> None:
        self.faded = self.faded or t
        if t - self.faded >= 10 * _MINUTE:
            if self.seen > 2_000:
                fade = max(0.5 ** ((t - self.faded) / (7 * 1_440 * _MINUTE)), 2_000 / self.seen)
                self.failed, self.seen = self.failed * fade, self.seen * fade
            self.faded = t
        self.usual = min(max((self.failed + 0.5) / (self.seen + 1), 0.005), 0.999)
        self.due = self.seen + min(self.seen / 16, 1_024.0)

    def _unlearn(self) -> None:
        self.failed = max(self.failed - max(self.failures - 2.0, 0.0), 0.0)
        self.seen = max(self.seen - self.calls, self.failed)
        self._take_usual(self.newest)

    def end_if_silent(self, t: float) -> list[tuple[float, float, int]]:
        """What happens when nothing was heard of for long."""
        pace = 20 * _MINUTE / max(self.rate, 1e-9)
        if t - self.newest < min(max(pace, 30 * _MINUTE), 1_440 * _MINUTE):
            return []
        if self.since_first:
            self.failed, self.seen = self.failures, self.calls
        self.end()
        return [(QUIET, self.start, self.level)]

    def end(self) -> None:
        """The event is over."""
        self.phase, self.mixture, self.due = IDLE, [0.0] * 5, 0.0
        self.slow.ratio = self.fast.ratio = 0.0


def _log_likelihood(failures: float, calls: float, rate: float) -> float:
    return sum(n * math.log(p) for n, p in ((failures, rate), (calls - failures, 1 - rate)) if n > 0)


@dataclass
class Windows:
    """`burn.age_windows` as `errors.judge_failures` uses it: (failures, calls) by window."""

    sums: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0)] * 5)
    new: tuple[int, int] = (0, 0)
    aged: float = 0.0
    newest: float = 0.0

    def note(self, t: float, failed: bool) -> None:
        """Count a call."""
        if t < self.newest - 15 * _MINUTE:
            return
        self.newest = max(self.newest, t)
        if t >= self.aged + 10_000:
            self._age(t)
        self.new = (self.new[0] + failed, self.new[1] + 1)

    def _age(self, t: float) -> None:
        age = t - self.aged if self.aged else 0.0
        minutes, least = (5, 30, 60, 360, 4_320), (10, 10, 10, 20, 30)
        for k, (failed, seen) in enumerate(self.sums):
            kept = min(1.0, max(least[k] - self.new[1], 0) / seen) if seen else 1.0
            fade = max(math.exp(-age / (minutes[k] * _MINUTE / 2)), kept)
            self.sums[k] = (failed * fade + self.new[0], seen * fade + self.new[1])
        self.new, self.aged = (0, 0), t
