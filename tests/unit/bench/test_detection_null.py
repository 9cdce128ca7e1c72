"""Processes in which nothing happens are what they say, and alarms are counted once an hour at most."""

from __future__ import annotations

import numpy as np
import pytest

from bench.detection import null
from bench.detection.minutes import DAY
from bench.detection.null import PROCESSES, signal_alarms, whole_events
from services.detector.core.metrics import SENSITIVITIES


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_values_are_positive_and_the_same_for_the_same_seed(process: null.Process) -> None:
    first, again = (process(np.random.default_rng(3), 5_000) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.min() >= 0.0
    assert np.isfinite(first).all()


def test_the_autoregression_has_the_memory_it_should_have() -> None:
    x = null.autoregressive(np.random.default_rng(1), 200_000)
    for lag in (1, 5, 20):
        assert np.corrcoef(x[lag:], x[:-lag])[0, 1] == pytest.approx(0.9**lag, abs=0.03)
    assert x.std() == pytest.approx(1.0, abs=0.05)


def test_alarms_grow_with_sensitivity_and_stay_near_what_is_nominal() -> None:
    days = 60
    alarms = signal_alarms(null.lognormal, days * DAY, days * DAY)
    assert alarms["low"] <= alarms["medium"] <= alarms["high"]
    assert days / 3 <= alarms["high"] <= 3 * days


def test_the_whole_detector_says_little_of_tools_where_nothing_happens() -> None:
    events = whole_events(null.quantised, 3, 2)
    assert set(events) == set(SENSITIVITIES)
    assert events["medium"] <= 2
