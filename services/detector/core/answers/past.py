"""A past lived again: the detector's own core over calls read back, in order of time, as the stream would have brought them.

Pure. Owns how a stretch of the past is gone through, how far back the state reaches by itself, and how what it finds there is put
together with what is known already. Knows nothing of where calls and stored anomalies come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from services.detector.core.engine import Engine
from services.detector.core.events import Book, Event
from services.detector.core.metrics import GAP_MS, HISTORY_MS, MINUTE_MS
from services.detector.core.state.budget import Budget
from services.detector.core.timeline import Timeline
from services.detector.core.watch import Watch
from shared.batch import Batch, Series

#: The past is gone through in steps of so long.
STEP_MS: Final = 5 * MINUTE_MS
#: Sweeps of one past, series by series; with more series it is swept less often, at every second, third ... moment.
MOST_SWEPT: Final = 200_000
#: How much before a window is gone through as well, so that there is a baseline.
WARM_MS: Final = HISTORY_MS
#: Growth of histories in a past.
BUDGET_BYTES: Final = 64 * 1024 * 1024
#: History that is kept beyond a day, at least.
_SLACK_MS: Final = 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a window beyond the state: anomalies that were stored, a detector that lived it again, and `note`, what an
    answer's coverage says of both. `swept_ms`: when all series were last swept (epoch ms).
    """

    stored: list[Event] = field(default_factory=list)
    replayed: Watch | None = None
    note: dict[str, Any] = field(default_factory=dict)
    swept_ms: int = 0

    def told_until(self, key: Series) -> int:
        """Until when the detector that lived it again knows the calls of a tool (epoch ms), -1 if it knows none."""
        series = None if self.replayed is None else self.replayed.engine.series.get(key)
        return -1 if series is None else series.newest_ts


class Replay:
    """A detector of its own that goes through calls (ascending by time), a step at a time."""

    def __init__(self, calls: Batch, until_ms: int, max_series: int, sweep_every_ms: int) -> None:
        """`until_ms`: how far time goes, with or without calls; `sweep_every_ms`: how often the service sweeps."""
        self._calls = calls
        self._until_ms = max(until_ms, int(calls.ts[-1]) + 1) if len(calls) else until_ms
        self.swept_every_ms = _sweep_every(calls, until_ms, sweep_every_ms)
        watch = Watch(Engine(max_series, Budget(BUDGET_BYTES)), Book())
        self._timeline = Timeline(watch, self.swept_every_ms, awake=True)

    @property
    def watch(self) -> Watch:
        """The detector."""
        return self._timeline.watch

    def steps(self) -> Iterator[int]:
        """Go through it; yields the time after each step (epoch ms)."""
        ts, first = self._calls.ts, 0
        now_ms = int(ts[0]) if len(ts) else self._until_ms
        while now_ms < self._until_ms:
            now_ms = min((now_ms // STEP_MS + 1) * STEP_MS, self._until_ms)
            end = int(np.searchsorted(ts, now_ms))
            if end > first:
                self._timeline.take(self._calls.take(np.arange(first, end)), live=False)
            self._timeline.go_on(now_ms, live=False)
            self._forget_news()
            first = end
            yield now_ms

    def _forget_news(self) -> None:
        self.watch.take_lines()
        self.watch.take_raises()
        self.watch.book.dirty.clear()


def _sweep_every(calls: Batch, until_ms: int, every_ms: int) -> int:
    """As often as the service does it, or at every so manyth of its moments."""
    span_ms = max(0, until_ms - int(calls.ts[0])) if len(calls) else 0
    return every_ms * max(1, -(-span_ms // every_ms * len(calls.dictionary) // MOST_SWEPT))


def reaches_back_to(watch: Watch, *, named: bool) -> int:
    """From when on the state itself knows what happened (epoch ms): since its first call, for the named
    methods as far as histories go.
    """
    since_ms = min((s.first_ts for s in watch.engine.series.values() if s.first_ts >= 0), default=2**62)
    return max(since_ms, watch.engine.newest_ts - HISTORY_MS - _SLACK_MS) if named else since_ms


def united(known: Iterable[Event], others: Iterable[Event]) -> list[Event]:
    """The events of both, each once: of two about the same, the one that is known."""
    events = {event.id: event for event in known}
    about: dict[tuple[str, str, str, str], list[Event]] = {}
    for event in events.values():
        about.setdefault(_about(event), []).append(event)
    for event in others:
        same = about.get(_about(event), [])
        if event.id not in events and not any(
            e.overlaps(event.start_ms - GAP_MS, event.last_ms + GAP_MS) for e in same
        ):
            events[event.id] = event
    return list(events.values())


def _about(event: Event) -> tuple[str, str, str, str]:
    return event.server, event.tool, event.origin, event.metric
