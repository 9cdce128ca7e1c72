"""Slow calls are slow since many of them are, not since a stray one before."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.detector.detector_kit import MINUTE, T0, batch, feed, make_watch, ordinary, stored

EVERY = 6 * MINUTE
FIRST = 300


def slow_since(strays: list[int]) -> int:
    """The number of the call with which slow calls are said to have begun."""
    ts, values = T0 + np.arange(320, dtype=np.int64) * EVERY, ordinary(320, 4, level=200.0)
    values[[*strays, *range(FIRST, 320)]] *= 6.0
    watch = make_watch()
    feed(watch, batch(ts, values), size=1)
    (event,) = stored(watch)
    assert event.points <= event.calls
    assert event.typical > event.upper
    return (event.start_ms - T0) // EVERY


@pytest.mark.parametrize("strays", [[], [285], [292], [293]])
def test_slow_calls_begin_with_the_first_of_many_and_no_stray_before(strays: list[int]) -> None:
    assert slow_since(strays) == FIRST


def test_a_slow_call_right_before_is_the_first_of_them() -> None:
    assert slow_since([299]) == 299
