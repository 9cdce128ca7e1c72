"""Streams of calls for the detector's tests: a seeded ordinary tool, and faults to plant in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from services.detector.core.engine import Engine
from services.detector.core.events import Book, Event
from services.detector.core.watch import Watch
from shared.batch import Batch, Series

T0 = 1_760_054_400_000  # 2025-10-10T00:00:00Z
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
KEY = Series("server", "tool")


def make_watch(max_series: int = 100) -> Watch:
    return Watch(Engine(max_series), Book())


def batch(
    ts: Sequence[int] | np.ndarray,
    duration: Sequence[float] | np.ndarray,
    ok: Sequence[int] | np.ndarray | None = None,
    key: Series = KEY,
    **resources: np.ndarray | None,
) -> Batch:
    n = len(ts)
    good = np.ones(n, np.uint8) if ok is None else np.asarray(ok, np.uint8)
    columns = {name: None if c is None else np.asarray(c, np.float64) for name, c in resources.items()}
    codes = np.zeros(n, np.uint32)
    return Batch((key,), codes, np.asarray(ts, np.int64), np.asarray(duration, np.float64), good, **columns)


def times(n: int, every_ms: int = 15_000, start: int = T0) -> np.ndarray:
    return start + np.arange(n, dtype=np.int64) * every_ms


def ordinary(n: int, seed: int = 1, level: float = 100.0, spread: float = 0.2) -> np.ndarray:
    return level * np.exp(spread * np.random.default_rng(seed).standard_normal(n))


def bursts(n: int = 6_000) -> np.ndarray:
    """Bursts of all strengths, so that some are faint."""
    values, rng = ordinary(n, 9, spread=0.5), np.random.default_rng(10)
    for at in range(300, n, 250):
        values[at : at + rng.integers(2, 9)] *= rng.uniform(1.5, 8)
    return values


def cut(whole: Batch, size: int) -> Iterator[Batch]:
    for at in range(0, len(whole), size):
        yield whole.take(np.arange(at, min(at + size, len(whole))))


def feed(watch: Watch, whole: Batch, size: int = 50, *, live: bool = True) -> None:
    for part in cut(whole, size):
        watch.apply(part, live=live)


def stored(watch: Watch, anomaly_type: str | None = None) -> list[Event]:
    return sorted(
        (e for e in watch.book.events.values() if e.stored and anomaly_type in (None, e.type)),
        key=lambda e: (e.start_ms, e.type),
    )
