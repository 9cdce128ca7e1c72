"""The real detector's core, driven without processes: calls in, events out with the moment each was first reported.

A `Timeline` over `Watch` and `Engine`, whose minutes and sweeps pass by the calls' own time, as in `shell.state`. What is to be
written or told is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from bench.detection.calls import Step
from services.detector.core.engine import Engine
from services.detector.core.events import BOOK_MS, Book, Event
from services.detector.core.metrics import SENSITIVITIES
from services.detector.core.timeline import Timeline
from services.detector.core.watch import Watch

SWEEP_MS: Final = 300_000
MAX_SERIES: Final = 10_000


@dataclass(slots=True)
class Sighting:
    """An event, and when each sensitivity first reported it: {level: epoch ms}."""

    event: Event
    found_ms: dict[int, int]


class Drive:
    """A detector of its own and all events it ever had."""

    def __init__(self) -> None:
        self.watch = Watch(Engine(MAX_SERIES), Book())
        self.sightings: dict[str, Sighting] = {}
        self._timeline = Timeline(self.watch, SWEEP_MS)
        self._swept_ms = 0

    def run(self, steps: Iterable[Step], look: Callable[[Watch, int], None] | None = None) -> None:
        """Take all steps; `look` is called after each with the time."""
        for step in steps:
            self.step(step)
            if look is not None:
                look(self.watch, step.end_ms)

    def step(self, step: Step) -> None:
        """Apply a batch and let the clock go on to its end."""
        watch, now_ms = self.watch, step.end_ms
        self._timeline.take(step.batch, live=True)
        self._timeline.go_on(now_ms)
        self._note(now_ms)
        if self._timeline.swept_ms > self._swept_ms:
            watch.book.forget_before(now_ms - BOOK_MS)
            self._swept_ms = self._timeline.swept_ms
        watch.take_lines()
        watch.take_raises()

    def _note(self, now_ms: int) -> None:
        book = self.watch.book
        for name in book.dirty:
            event = book.events.get(name)
            if event is None:
                self.sightings.pop(name, None)  # withdrawn, or become part of another
                continue
            sighting = self.sightings.setdefault(name, Sighting(event, {}))
            sighting.event = event
            for level in range(1, min(event.level, len(SENSITIVITIES)) + 1):
                sighting.found_ms.setdefault(level, now_ms)
        book.dirty.clear()
