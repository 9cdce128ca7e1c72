"""What `course` does, in plain Python with named fields: the measure it is tested by. It shares the course's constants alone."""

# ruff: noqa: SLF001 - the constants are the course's own, and a measure of it has to go by them
from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from services.detector.core.metrics import METRICS
from services.detector.core.signal import course as c
from services.detector.core.signal.twin import Judged

_NAMES: Final = ("idle", "pending", "open")


@dataclass
class Anomaly:
    """The one under way, or the latest. `expected` and band are those of the first point outside, `tail_p` the least so far."""

    start_ms: float = 0.0
    last_ms: float = 0.0
    worst: float = 0.0
    worst_ms: float = 0.0
    points: int = 0
    calls: float = 0.0
    total: float = 0.0
    expected: float = 0.0
    lower: float = 0.0
    upper: float = 0.0
    level: float = 0.0
    tail_p: float = 0.0
    part: int = 0
    inside: int = 0
    fewest: float = 0.0

    def note(self, t_ms: float, value: float, calls: float, level: float, said: Judged) -> None:
        """Count a point outside."""
        self.last_ms, self.inside = t_ms, 0
        self.points, self.calls, self.total = self.points + 1, self.calls + calls, self.total + value
        if self.points == 1 or abs(value - self.expected) > abs(self.worst - self.expected):
            self.worst, self.worst_ms = value, t_ms
        self.level = max(self.level, level)
        if said.tail_p < self.tail_p:
            self.tail_p, self.part = said.tail_p, said.part


@dataclass
class Course:
    """Of one signal; `follow` takes its points in turn, and returns what happened (`course.OPENED` …), 0 for nothing."""

    signal: int
    phase: str = "idle"
    anomaly: Anomaly = field(default_factory=Anomaly)

    def follow(self, t_ms: float, value: float, calls: float, said: Judged) -> float:
        """Take a point and what the scorer said of it."""
        level = sum(said.tail_p <= limit for limit in c.LIMITS)
        ratio, fewest = self._of_metric("ratio"), self._of_metric("fewest")
        if self._at_ceiling(value, said.expected):
            ratio = 1.0
            if level < c._CEILING_LEVEL:
                level, fewest = int(c._CEILING_LEVEL), c._CEILING_POINTS
        if self.phase == "idle":
            if not level or not self._left(value, said.expected, ratio, level / 2):
                return c.SUSPECTED if self._worth_a_look(value, calls, said.expected) else 0.0
            self.phase = "pending"
            self.anomaly = Anomaly(
                t_ms, expected=said.expected, lower=said.lower, upper=said.upper, tail_p=1.0, fewest=fewest
            )
        if not self._left(value, self.anomaly.expected, ratio, 1.0 if self.phase == "pending" else c._HYSTERESIS):
            return self._back(t_ms)
        higher = level > self.anomaly.level
        self.anomaly.note(t_ms, value, calls, level, said)
        return self._outside(t_ms, higher=higher, silent=self.signal == c.CALLS_SIGNAL and value == 0.0)

    def end_if_silent(self, t_ms: float) -> float:
        """Close what nothing was heard of for long."""
        if self.phase == "idle" or t_ms - self.anomaly.last_ms < c._SILENT_MS:
            return 0.0
        return self._end(c.CLOSED_QUIET)

    def row(self) -> c.Row:
        """As the kernel's track."""
        a, row = self.anomaly, np.zeros(c.SIZE)
        row[c.PHASE] = _NAMES.index(self.phase)
        row[[c.START, c.LAST, c.PEAK, c.PEAK_AT]] = a.start_ms, a.last_ms, a.worst, a.worst_ms
        row[[c.POINTS, c.CALLS, c.TOTAL]] = a.points, a.calls, a.total
        row[[c.EXPECTED, c.LOWER, c.UPPER]] = a.expected, a.lower, a.upper
        row[[c.LEVEL, c.TAIL, c.PART, c.QUIET, c.LIMIT]] = a.level, a.tail_p, a.part, a.inside, a.fewest
        return row

    def _outside(self, t_ms: float, *, higher: bool, silent: bool) -> float:
        if self.phase == "pending":
            calls = self.signal == c.CALLS_SIGNAL or self.anomaly.calls >= c._MIN_CALLS
            if self.anomaly.points >= self.anomaly.fewest and calls:
                self.phase = "open"
                return c.OPENED
            return c.SUSPECTED if self.signal == 0 else 0.0
        if t_ms - self.anomaly.start_ms >= c._ADOPT_MS and not silent:
            return self._end(c.CLOSED_ADOPTED)
        return c.OPENED if higher else 0.0

    def _back(self, t_ms: float) -> float:
        self.anomaly.inside += 1
        enough = c._PENDING_POINTS if self.phase == "pending" else c._BACK_POINTS
        if self.anomaly.inside < enough or (self.phase == "open" and t_ms - self.anomaly.last_ms < c._BACK_MS):
            return 0.0
        return self._end(c.CLOSED_INSIDE)

    def _end(self, kind: float) -> float:
        """A suspicion ends without a word."""
        was_open, self.phase = self.phase == "open", "idle"
        return kind if was_open else 0.0

    def _left(self, value: float, expected: float, ratio: float, share: float) -> bool:
        """Whether the value has left a share of the margin; of calls a minute on either side."""
        excess = self._of_metric("excess")
        if value >= expected + share * max(expected * (ratio - 1.0), excess):
            return True
        both = self.signal == c.CALLS_SIGNAL and expected >= excess
        return both and value <= expected / (1.0 + share * (ratio - 1.0))

    def _of_metric(self, what: str) -> float:
        if self.signal == c.CALLS_SIGNAL:
            return {"ratio": 4.0, "excess": 30.0, "fewest": 10.0}[what]
        metric = METRICS[self.signal]
        return {"ratio": metric.margin_ratio, "excess": metric.margin_excess, "fewest": 2.0}[what]

    def _at_ceiling(self, value: float, expected: float) -> bool:
        room = c._CEILING - self._of_metric("excess")
        return METRICS[self.signal % len(METRICS)].name == "cpu" and value >= c._CEILING and expected < room

    def _worth_a_look(self, value: float, calls: float, expected: float) -> bool:
        if self.signal != 0 or not value > expected > 0.0:
            return False
        return math.log(value / expected) * math.sqrt(calls) >= c._LOOK_AT
