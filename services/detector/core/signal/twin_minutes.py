"""What `minutes` does, in plain Python: which minute is a point of which signal, when, and with which value.

The measure `minutes` is tested by; a point itself is taken by `scorer` and by the twin of `course`. A `Tool` is one series.
"""

# ruff: noqa: SLF001 - the constants are the kernel's own, and a measure of it has to go by them
from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from services.detector.core.kernels.bins import LN_WIDTH, ONE
from services.detector.core.metrics import METRICS
from services.detector.core.signal import minutes as m
from services.detector.core.signal import scorer
from services.detector.core.signal.course import CALLS_SIGNAL, Row
from services.detector.core.signal.pending import LATE_MINUTES, SLOTS
from services.detector.core.signal.twin import Judged
from services.detector.core.signal.twin_course import Course

_DAY = 1_440


class Happened(NamedTuple):
    """In a signal: the kind of `course`, and its track at that moment."""

    signal: int
    kind: float
    track: Row


@dataclass
class UnderWay:
    """A minute: values of each metric and their sum (of response time: of their bins); its calls when it was looked at last."""

    counts: list[int] = field(default_factory=lambda: [0] * len(METRICS))
    totals: list[float] = field(default_factory=lambda: [0.0] * len(METRICS))
    seen: int = 0

    def value(self, metric: int) -> float | None:
        """The point that a metric gives, None if it was not measured or is no number."""
        if not self.counts[metric]:
            return None
        mean = self.totals[metric] / self.counts[metric]
        with np.errstate(over="ignore", invalid="ignore"):
            value = float(np.exp((mean - ONE + 0.5) * LN_WIDTH)) if metric == 0 else mean
        return value if math.isfinite(value) else None


@dataclass
class Signal:
    """Scorer's state, in single precision between points, and course."""

    course: Course
    state: m.Float32 = field(default_factory=lambda: np.zeros(scorer.SIZE, np.float32))

    def take(self, minute: int, since: int, value: float, calls: float) -> list[Happened]:
        """Take a point; what happened."""
        found = [Happened(self.course.signal, self.course.end_if_silent(minute * 60_000.0), self.course.row())]
        state = self.state.astype(np.float64)
        scorer.observe((minute - since) * 60.0, value, state)
        self.state[:] = state
        said = Judged(*state[: scorer.COLUMNS].tolist())
        found.append(
            Happened(self.course.signal, self.course.follow(minute * 60_000.0, value, calls, said), self.course.row())
        )
        return [happened for happened in found if happened.kind]


@dataclass
class Tool:
    """A series: its minutes under way by number, its signals by number once they are measured."""

    minutes: dict[int, UnderWay] = field(default_factory=dict)
    signals: dict[int, Signal] = field(default_factory=dict)
    judged: int = -1
    called: int = -1
    since: int = -1

    def claim(self, minute: int) -> tuple[UnderWay | None, list[Happened]]:
        """A minute for calls, None when it is over; what happened in one that had to go for it."""
        there = next((other for other in self.minutes if other % SLOTS == minute % SLOTS), -1)
        if minute <= self.judged or there > minute:
            return None, []
        found = self.close(there, there) if 0 <= there < minute else []
        return self.minutes.setdefault(minute, UnderWay()), found

    def close(self, until: int, silent_until: int) -> list[Happened]:
        """Judge what is over."""
        found = []
        while due := self._due(until, silent_until):
            found += self._judge(due[0])
        found += self._silence(silent_until)
        for minute in self.minutes.values():
            minute.seen = minute.counts[0]
        return found

    def _due(self, until: int, silent_until: int) -> list[int]:
        """Minutes that are over, the oldest first: nothing came to them, they were waited for long, or later ones are there."""
        newest = max(self.minutes, default=0)
        return sorted(
            number
            for number, minute in self.minutes.items()
            if number <= until
            and (minute.seen == minute.counts[0] or number <= silent_until or number < newest - LATE_MINUTES)
        )

    def _judge(self, number: int) -> list[Happened]:
        minute = self.minutes.pop(number)
        if self.judged < 0:
            self.since = number // _DAY * _DAY
        self._make_signals(minute)
        found = self._silence(number - 1)
        for metric in range(CALLS_SIGNAL):
            value = minute.value(metric)
            if value is not None:
                found += self.signals[metric].take(number, self.since, value, minute.counts[metric])
        if CALLS_SIGNAL in self.signals:
            calls = minute.counts[0]
            found += self.signals[CALLS_SIGNAL].take(number, self.since, float(calls), calls)
        self.judged = self.called = number
        return found

    def _make_signals(self, minute: UnderWay) -> None:
        wanted = [metric for metric in range(CALLS_SIGNAL) if minute.counts[metric]]
        if minute.counts[0] >= m._MANY_CALLS:
            wanted.append(CALLS_SIGNAL)
        for signal in wanted:
            self.signals.setdefault(signal, Signal(Course(signal)))

    def _silence(self, last: int) -> list[Happened]:
        """Minutes without calls are points of the calls' signal, up to a day after the last call."""
        if self.judged < 0 or CALLS_SIGNAL not in self.signals:
            return []
        found = []
        for number in range(self.judged + 1, min(last, self.called + m._ALIVE_MINUTES) + 1):
            found += self.signals[CALLS_SIGNAL].take(number, self.since, 0.0, 0.0)
            self.judged = number
        return found
