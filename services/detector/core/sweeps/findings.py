"""What a look at a series' last hours finds: a lasting condition, as `shifts` and `sweep` hand it to `watch`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.detector.core.events import Severity


@dataclass(frozen=True, slots=True)
class Finding:
    """A lasting condition: type and metric, since when, the level now and before, and how sure. `per_hour`: growth, of leaks."""

    type: str
    metric: str
    unit: str
    start_ms: int
    last_ms: int
    peak_ms: int
    value: float
    typical: float
    median: float
    lower: float
    upper: float
    points: int
    level: int
    confidence: float
    severity: Severity
    method: str
    per_hour: float = 0.0


def level_of(passes: Callable[[int], bool]) -> int:
    """The least sensitive level that passes, each needing those below it."""
    level = 0
    for i in range(3):
        if not passes(i):
            break
        level = i + 1
    return level
