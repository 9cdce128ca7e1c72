"""The named methods over the same calls: asked every few hours about the hours just gone, as a user would ask."""

from __future__ import annotations

from typing import Final

from bench.detection.drive import Sighting
from services.detector.core.answers import methods
from services.detector.core.events import Event
from services.detector.core.metrics import LEVELS, METHODS, SENSITIVITIES
from services.detector.core.watch import Watch

#: How often they are asked, and how far each question reaches back.
ASKED_MS: Final = 6 * 3_600_000
#: The named methods; `auto` is judged by the events it makes itself.
NAMED: Final = tuple(name for name in METHODS if name != "auto")
#: Events of one series, method and question that are made; with more, a method says nothing.
_MOST: Final = 200


class Asked:
    """All answers, by method and sensitivity. Call it with the detector and the time; it asks when it is time."""

    def __init__(self, since_ms: int) -> None:
        self.found: dict[tuple[str, str], list[Sighting]] = {(m, s): [] for m in NAMED for s in SENSITIVITIES}
        self._next_ms = since_ms + ASKED_MS

    def __call__(self, watch: Watch, now_ms: int) -> None:
        """Ask if six hours are over."""
        if now_ms < self._next_ms:
            return
        start_ms, self._next_ms = now_ms - ASKED_MS, now_ms + ASKED_MS
        for series in watch.engine.series.values():
            for (method, sensitivity), found in self.found.items():
                for part in methods.find(series, method, sensitivity, start_ms, now_ms):
                    events = (part.event(i) for i in range(min(len(part.groups), _MOST)))
                    found += [_sighting(event, sensitivity) for event in events]


def _sighting(event: Event, sensitivity: str) -> Sighting:
    """Reported when it began: how late an answer comes is the asker's choice."""
    return Sighting(event, {LEVELS[sensitivity]: event.start_ms})
