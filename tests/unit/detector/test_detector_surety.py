"""How sure an anomaly is said to be, by how much is known of its tool."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.events import Event
from services.detector.core.telling.explain import anomaly
from services.detector.core.telling.narrative import summary
from services.detector.core.telling.surety import confidence_of, little_history
from tests.unit.detector.detector_kit import DAY, HOUR, MINUTE, T0, batch, feed, make_watch, ordinary, stored, times


def spike(calls: int, span_ms: int, *, metric: str = "response_time", scope: str = "") -> Event:
    """A very sure event after some calls of history."""
    start_ms = T0 + span_ms
    kind = "throughput_change" if metric == "calls" else "response_time_spike"
    event = Event(
        "a", "s", "t", kind, metric, "ms", "auto", start_ms, start_ms, start_ms, 900.0, 900.0, 100.0, 50.0, 200.0,
        9, 9, 2, 0.9999,
    )  # fmt: skip
    event.evidence = {"fired": {"part": "calls", "baselineCalls": calls, "baselineSinceMs": T0}}
    if scope:
        event.evidence["scope"] = scope
    return event


@pytest.mark.parametrize(
    ("calls", "span_ms", "told", "little"),
    [
        (22, 6 * HOUR, 0.88, "only 22 calls of history"),
        (93, 6 * HOUR, 0.9688, "only 93 calls of history"),
        (1_000, DAY, 0.997, None),
        (5_000, 10 * MINUTE, 0.9852, "only 10 min of history"),
        (100_000, DAY, 0.9999, None),
    ],
)
def test_little_history_bears_little_confidence_and_is_told(calls: int, span_ms: int, told: float, little) -> None:
    event = spike(calls, span_ms)
    assert confidence_of(event) == pytest.approx(told, abs=1e-4)
    assert little_history(event) == little
    assert anomaly(event)["details"]["confidence"] == confidence_of(event)
    assert (f"{little})" if little else f"(confidence {told:.4g})") in summary(event)
    assert event.confidence == 0.9999, "what is ranked stays as it is"


def test_what_is_judged_by_other_things_than_the_tools_calls_keeps_its_confidence() -> None:
    for event in (spike(5, HOUR, metric="calls"), spike(5, HOUR, scope="server")):
        assert (confidence_of(event), little_history(event)) == (0.9999, None)


def test_a_young_tool_is_never_said_to_be_certain() -> None:
    watch = make_watch()
    values = ordinary(60)
    values[30:40] *= 30
    feed(watch, batch(times(60), np.asarray(values)))
    (event,) = stored(watch)
    assert event.confidence > 0.99
    assert confidence_of(event) < 0.95
    assert "only 30 calls of history" in summary(event)


@pytest.mark.parametrize("failing", [False, True])
def test_a_quiet_weekend_takes_nothing_away_from_what_is_known_of_a_tool(failing: bool) -> None:
    watch = make_watch()
    ts = np.concatenate([times(900, 30_000, T0 + day * DAY) for day in range(3)] + [times(40, 30_000, T0 + 5 * DAY)])
    values, ok = ordinary(len(ts)), np.ones(len(ts))
    if failing:
        ok[-30:] = 0
    else:
        values[-30:] *= 30
    feed(watch, batch(ts, values, ok))
    event = next(e for e in stored(watch) if e.start_ms >= T0 + 5 * DAY)
    assert event.evidence["fired"]["baselineCalls"] > 500
    assert event.evidence["fired"]["baselineSinceMs"] == T0
    assert confidence_of(event) > 0.99
    assert "of history" not in summary(event)
