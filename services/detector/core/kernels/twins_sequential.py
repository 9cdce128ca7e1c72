"""What the kernels that judge call by call say, in plain Python with named fields: the measure they are tested by."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

IDLE, PENDING, OPEN = "idle", "pending", "open"
OPENED, INSIDE, QUIET, ADOPTED = 1.0, 2.0, 3.0, 4.0

_Z = (2.0, 2.5, 3.0)
_MARGIN = (0.5, 1.0, 1.5)
_TAIL = (0.05, 0.01, 0.001)
_LISTEN = (0.5, 0.2, 0.1)
_LIMIT = (6.5, 9.5, 12.5)
_MINUTE = 60_000.0


def _single(count: float) -> float:
    """As it is kept."""
    return float(np.float32(count))


def _middle(number: int) -> float:
    return 0.0 if number <= 0 else math.exp((number - 256 + 0.5) * 0.04)


def _bin(value: float) -> int:
    if value < math.exp(-255 * 0.04):
        return 0
    if value >= math.exp(767 * 0.04):
        return 1023
    return math.floor(math.log(value) / 0.04) + 256


@dataclass
class Spikes:
    """`judge.judge` with a baseline that has every bin."""

    ratio: float
    excess: float
    counts: list[float] = field(default_factory=lambda: [0.0] * 1024)
    weight: float = 0.0
    since: float = 0.0
    rate: float = 0.0
    faded: float = 0.0
    refreshed: float = 0.0
    newest: float = 0.0
    median: float = 0.0
    bands: list[float] = field(default_factory=list)
    chances: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=lambda: [0.0] * 3)
    followed: list[float] = field(default_factory=lambda: [0.0] * 3)
    phase: str = IDLE
    start: float = 0.0
    last: float = 0.0
    calls: int = 0
    quiet: int = 0
    level: int = 0
    previous: int = 0
    fraction: float = 0.0
    adopted: bool = False
    alarmed: float = 0.0
    #: Median and bands at the alarm.
    usual: list[float] = field(default_factory=list)
    total: float = 0.0
    outside: list[float] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    pairs: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)

    def judge(self, t: float, value: float) -> list[tuple[float, float, int]]:
        """The happenings of one call: (kind, start, level)."""
        if not math.isfinite(value):
            return []
        if t < self.newest - 15 * _MINUTE:
            if not self.bands or value <= self.bands[0]:
                self._learn(value, 1.0)
            return []
        self.newest = max(self.newest, t)
        self.refreshed = self.refreshed or t
        found = self._end_if_silent(t)
        if (self.phase == IDLE or self.adopted) and self._due():
            self._refresh(t)
        if not self.bands:
            self._learn(value, 1.0)
            return found
        return found + self._judge_one(t, value)

    def _judge_one(self, t: float, value: float) -> list[tuple[float, float, int]]:
        outside = value > self.bands[0]
        if self.phase == IDLE:
            if not outside:
                self._learn(value, 1.0)
                return []
            self._begin(t)
        elif self.phase == PENDING and outside and t < self.start - 2 * _MINUTE:
            self._dismiss()
            self._begin(t)
        self.calls += 1
        self._weigh(value)
        self.fraction = self.fraction * 0.9 + (0.1 if outside else 0.0)
        self._note(value) if outside else self._learn(value, 1.0)
        if self.phase == OPEN:
            self.adopted = self.adopted or t - self.alarmed >= 60 * _MINUTE
            return self._follow(t, outside)
        level = self._level()
        if level:
            self.phase, self.level, self.last, self.quiet = OPEN, level, max(self.last, t), 0
            self.alarmed, self.usual = t, [self.median, *self.bands]
            return [(OPENED, self.start, level)]
        if outside:
            self.last, self.quiet = max(self.last, t), 0
            return []
        self.quiet += 1
        if (self.quiet >= 10 and t - self.last >= 2 * _MINUTE) or max(self.sums) <= 0:
            self._dismiss()
        return []

    def _begin(self, t: float) -> None:
        self.phase, self.start, self.last = PENDING, t, t
        self.calls = self.quiet = 0
        self.outside, self.sums, self.pairs = [0.0] * 3, [0.0] * 3, [0.0] * 3
        self.fraction = self.total = 0.0
        self.level, self.previous, self.adopted = 0, 0, False
        self.held = []

    def _weigh(self, value: float) -> None:
        before, self.previous = self.previous, 0
        for level in range(3):
            chance, after = self.chances[level], before > level
            if after:
                chance = max(chance, (10 * chance + self.followed[level]) / (10 + self.runs[level]))
            alone = (1 - chance) / (1 - self.chances[level])
            listen = max(min(max(_LISTEN[level], 5 * chance), 0.9), 0.5 + 0.5 * chance if after else 0.0)
            if value > self.bands[level]:
                boost = min(math.log(value / self.bands[level]), math.log(10))
                self.sums[level] = min(self.sums[level] + math.log(listen / chance) + alone * boost, 700.0)
                self.outside[level] += 1
                self.pairs[level] += after
                self.previous = level + 1
            else:
                self.sums[level] = max(0.0, self.sums[level] + math.log((1 - listen) / (1 - chance)))

    def _level(self) -> int:
        slack = math.log(max(1.0, self.rate)) + math.log(1 + 200.0 / max(self.weight, 1.0))
        passed = [
            i + 1
            for i in range(3)
            if self.outside[i] >= 3
            and self.sums[i] >= _LIMIT[i] + slack
            and self.total >= self.outside[0] * self.bands[i]
        ]
        return max(passed, default=0)

    def _note(self, value: float) -> None:
        self.total += value
        if self.adopted:
            self._learn(value, 1.0)
        elif self.phase == OPEN:
            self._learn(value, 0.1)
        elif len(self.held) < 8:
            self.held.append(value)
        else:
            self._learn(value, 1.0)

    def _follow(self, t: float, outside: bool) -> list[tuple[float, float, int]]:
        if outside and self.fraction >= 0.15:
            self.last, self.quiet = max(self.last, t), 0
        else:
            self.quiet += 1
        level = self._level()
        if level > self.level:
            self.level = level
            return [(OPENED, self.start, level)]
        if self.quiet >= 10 and t - self.last >= 2 * _MINUTE:
            self._learn_company()
            self.phase = IDLE
            return [(ADOPTED if self.adopted else INSIDE, self.start, self.level)]
        return []

    def _end_if_silent(self, t: float) -> list[tuple[float, float, int]]:
        if self.phase == OPEN and t - self.last >= 30 * _MINUTE:
            self._learn_company()
            self.phase = IDLE
            return [(QUIET, self.start, self.level)]
        if self.phase == PENDING and t - self.last >= 1440 * _MINUTE:
            self._dismiss()
        return []

    def _dismiss(self) -> None:
        for value in self.held:
            self._learn(value, 1.0)
        self._learn_company()
        self.phase = IDLE

    def _learn_company(self) -> None:
        for level in range(3):
            self.runs[level] += min(self.outside[level], 5.0)
            self.followed[level] += min(self.pairs[level], 5.0)

    def _learn(self, value: float, weight: float) -> None:
        self.counts[_bin(value)] = _single(self.counts[_bin(value)] + weight)
        self.weight += weight
        self.since += 1

    def _due(self) -> bool:
        return self.weight >= 20 and (not self.bands or self.since >= max(8.0, min(self.weight / 16, 1024.0)))

    def _refresh(self, t: float) -> None:
        self.faded = self.faded or t
        if t - self.faded >= 10 * _MINUTE:
            fade = min(0.5 ** ((t - self.faded) / (1440 * _MINUTE)), 4_000_000.0 / max(self.weight, 1.0))
            self.counts = [_single(count * fade) for count in self.counts]
            self.runs, self.followed = [r * fade for r in self.runs], [f * fade for f in self.followed]
            self.faded = t
        now = self.since / max((t - self.refreshed) / _MINUTE, 1 / 60)
        self.rate = now if self.rate == 0 else 0.8 * self.rate + 0.2 * now
        self.refreshed, self.since = t, 0.0
        filled = [(i, count) for i, count in enumerate(self.counts) if count > 0]
        self.weight = sum(count for _, count in filled)
        mean = sum(count * _middle(i) for i, count in filled) / self.weight
        deviation = math.sqrt(sum(count * (_middle(i) - mean) ** 2 for i, count in filled) / self.weight)
        self.median = _middle(self._rank(0.5 * self.weight))
        margin = max(self.median * (self.ratio - 1.0), self.excess)
        tails = [math.exp((self._rank((1 - tail) * self.weight) - 256 + 1) * 0.04) for tail in _TAIL]
        self.bands = [
            max(self.median + margin * share, tail, mean + z * deviation)
            for share, tail, z in zip(_MARGIN, tails, _Z, strict=True)
        ]
        self.chances = [max(tail, 1 / (self.weight + 1)) for tail in _TAIL]

    def _rank(self, rank: float) -> int:
        running, last = 0.0, 0
        for i, count in enumerate(self.counts):
            if count > 0:
                running, last = running + count, i
                if running >= rank - 1e-9:
                    return i
        return last
