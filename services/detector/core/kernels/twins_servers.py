"""What `server_errors.judge_servers` says of one server, in plain Python with named fields: the measure it is tested by."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.detector.core.kernels.twins_failures import IDLE, Failures, Rise

ASKED = 5.0

_MINUTE = 60_000.0


@dataclass
class Company:
    """The failures of a server's tools together. It asks as the kernel does, and is always told that it is an event."""

    test: Failures = field(default_factory=lambda: Failures(0.0))
    begun: dict[int, float] = field(default_factory=dict)
    expected: float = 0.0
    enough: float = 0.0
    last: float = 0.0

    def judge(self, t: float, failed: bool, usual: float, busy: bool) -> list[float]:
        """The kinds of what happened with one call of a tool; after ASKED the event is under way."""
        test = self.test
        if t < test.newest - 15 * _MINUTE or (busy and test.phase == IDLE):
            return []
        found = [kind for kind, *_ in test.end_if_silent(t)] if test.phase != IDLE else []
        test.newest = max(test.newest, t)
        test.clock += 1
        self.expected += usual
        if test.phase != IDLE:
            return found + self._open(t, failed, usual)
        asked = self._idle(t, failed, usual, ask=not found)
        return found + ([ASKED] if asked else [])

    def open(self) -> bool:
        """Whether the evidence suffices still; then the event begins."""
        test = self.test
        if test.level_reached() < 2:
            return False
        rise = test.likelier()
        test.begin(rise, self.last, test.level_reached())
        test.failed = self.expected - self.begun[rise.place]
        test.seen = float(test.calls)
        test.usual = test.failed / max(test.seen, 1.0)
        self.enough = 0.0
        return True

    def explained(self) -> None:
        """A tool's own event says it all."""
        if self.test.phase == IDLE:
            self.test.end()
            self.enough = 0.0

    def _idle(self, t: float, failed: bool, usual: float, *, ask: bool) -> bool:
        test = self.test
        test.usual, test.clock = usual, test.clock - 1
        test.weigh(failed)
        for rise in (test.slow, test.fast):
            begins = failed and rise.ratio == 0
            test.follow(rise, t, failed)
            self._note(rise, usual, begins=begins)
        test.clock += 1
        if not failed:
            return False
        self.last = t
        if not ask:
            return False
        if test.slow.failures < 3 or test.level_reached() < 2:
            self.enough = 0.0
            return False
        self.enough = self.enough or t
        return t - self.enough >= _MINUTE

    def _note(self, rise: Rise, usual: float, *, begins: bool) -> None:
        if begins:
            self.begun[rise.place] = self.expected - usual

    def _open(self, t: float, failed: bool, usual: float) -> list[float]:
        test = self.test
        test.usual = usual
        test.weigh(failed)
        test.failed, test.seen = test.failed + usual, test.seen + 1
        test.calls += 1
        test.usual = test.failed / test.seen
        test.failures += failed
        test.watch_end(t, failed)
        level = test.level_reached() if failed else 0
        if level > test.level:
            test.level = level
            return [1.0]
        if test.is_over(t):
            test.end()
            return [2.0]
        return []
