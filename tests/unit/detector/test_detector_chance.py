"""How many events a named method's limit makes by chance: as the twin says, and as calls show that are not spread evenly."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.core.answers.answer import answer, parse_query
from services.detector.core.kernels.starts import events_by_chance
from services.detector.core.kernels.twins import events_by_chance as twin
from services.detector.core.watch import Watch
from tests.unit.detector.against_twins import against_twin
from tests.unit.detector.detector_kit import MINUTE, T0, batch, feed, make_watch, ordinary, times

METHODS = ["z-score", "moving-avg", "percentile"]


@against_twin(events_by_chance)
@given(
    st.dictionaries(
        st.integers(0, 12), st.one_of(st.integers(0, 40), st.sampled_from([1_000_000, 3_000])).map(float), max_size=10
    ),
    st.sampled_from([0.0, 1e-9, 0.001, 0.01, 0.05, 1.0]),
)
@settings(max_examples=100, deadline=None)
def test_events_by_chance_are_those_of_the_twin(calls: dict[int, float], share: float) -> None:
    minutes = np.asarray(sorted(calls), np.int64)
    found = events_by_chance(minutes, np.asarray([calls[m] for m in minutes.tolist()], np.float64), share, 10.0)
    assert found == pytest.approx(twin(calls, share, 10.0), rel=2e-3, abs=1e-9)


def summary(watch: Watch, method: str, end: int) -> dict[str, Any]:
    query = parse_query({"lookbackMs": 6 * 60 * MINUTE, "endMs": end, "method": method}, end)
    found: dict[str, Any] = answer(watch, query, contextlib.nullcontext)["summary"]
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_minute_with_a_million_calls_is_one_event_and_the_others_are_expected_as_before(method: str) -> None:
    n, crowd = 2_000, 200_000
    ts = np.sort(
        np.concatenate([times(n, 10_000), T0 + 300 * MINUTE + np.arange(crowd, dtype=np.int64) * MINUTE // crowd])
    )
    watch = make_watch()
    feed(watch, batch(ts, ordinary(len(ts), 3, spread=0.6)), 20_000)
    found = summary(watch, method, int(ts[-1]))
    assert found["total"] > 5
    assert found["expectedByChance"] / 2 - 3 <= found["total"] <= 2 * found["expectedByChance"] + 3
