"""A leak is told since when, from what and how fast it grew."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.sweeps.findings import Finding
from services.detector.core.sweeps.sweep import find_leak
from shared.batch import Batch
from tests.unit.detector.detector_kit import HOUR, KEY, MINUTE, T0, batch, feed, make_watch, ordinary


def leaking(hours: float, since_min: float, mb_per_hour: float, calls_a_minute: float = 20) -> Batch:
    """Calls whose memory is 220 MB, give or take 3 %, and grows from a minute on."""
    rng, n = np.random.default_rng(1), int(hours * 60 * calls_a_minute)
    ts = T0 + np.sort(rng.integers(0, int(hours * HOUR), n))
    grown = np.maximum(0.0, (ts - T0) / HOUR - since_min / 60) * mb_per_hour
    return batch(ts, ordinary(n, spread=0.3), memory=220 * rng.uniform(0.97, 1.03, n) + grown)


def leak_of(calls: Batch, end_ms: int) -> Finding:
    watch = make_watch()
    feed(watch, calls, 500)
    found = find_leak(watch.engine.series[KEY], end_ms)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("hours", "since_min", "mb_per_hour"),
    [(3.2, 62, 250), (8, 120, 33), (12, 180, 60), (24, 600, 250)],
)
def test_a_leak_began_when_memory_began_to_grow_however_long_that_is_ago(
    hours: float, since_min: float, mb_per_hour: float
) -> None:
    found = leak_of(leaking(hours, since_min, mb_per_hour), T0 + int(hours * HOUR))
    assert abs(found.start_ms - (T0 + since_min * MINUTE)) <= 10 * MINUTE
    assert found.per_hour == pytest.approx(mb_per_hour, rel=0.03)
    assert found.median == pytest.approx(220, rel=0.01)
    assert (found.lower, found.upper) == (pytest.approx(213, abs=2), pytest.approx(227, abs=2))


def test_a_leak_never_began_before_the_first_call() -> None:
    found = leak_of(leaking(3, -HOUR / MINUTE, 100).take(np.arange(100, 3_600)), T0 + 3 * HOUR)
    assert T0 + 4 * MINUTE <= found.start_ms <= T0 + 10 * MINUTE
    assert found.per_hour == pytest.approx(100, rel=0.05)
    assert found.lower <= found.median <= found.upper
    assert found.median == pytest.approx(330, rel=0.03)
