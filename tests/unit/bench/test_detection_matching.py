"""Which events count for which faults."""

from __future__ import annotations

import pytest

from bench.detection.drive import Sighting
from bench.detection.faults import BURST, SERVER_WIDE, SPIKE, Class, Fault
from bench.detection.matching import ECHO_MS, GRACE_MS, match, median_delay_s, recall
from services.detector.core.events import Event

HOUR_MS = 3_600_000
START_MS = 100 * HOUR_MS
END_MS = START_MS + HOUR_MS
MEDIUM, HIGH = 2, 1
KIND = Class(SPIKE, 4.0, 5, 60, ("response_time",))
FAULT = Fault(KIND, "s", "t", START_MS, END_MS, 100.0, "")


def sighting(found_ms: int, *, metric: str = "response_time", tool: str = "t", level: int = MEDIUM) -> Sighting:
    event = Event(
        f"{tool}-{metric}-{found_ms}", "s", tool, "response_time_spike", metric, "ms", "auto", found_ms, found_ms + 60_000,
        found_ms, 9.0, 9.0, 1.0, 0.0, 2.0, 3, 3, level, 0.9,
    )  # fmt: skip
    return Sighting(event, dict.fromkeys(range(1, level + 1), found_ms))


def test_an_event_during_a_fault_finds_it_and_its_delay_counts_from_the_start() -> None:
    found = match([FAULT], [sighting(START_MS + 90_000), sighting(START_MS + 300_000)], MEDIUM)
    assert recall(found.outcomes) == 1.0
    assert found.outcomes[0].delay_s == 90
    assert median_delay_s(found.outcomes) == 90
    assert (found.explained, found.precision) == (2, 1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        sighting(START_MS + 60_000, metric="cpu"),
        sighting(START_MS + 60_000, tool="other"),
        sighting(START_MS - 60_000),
        sighting(END_MS + ECHO_MS[0] + 1),
    ],
)
def test_another_metric_another_tool_and_another_time_are_false(wrong: Sighting) -> None:
    found = match([FAULT], [wrong], MEDIUM)
    assert recall(found.outcomes) == 0.0
    assert found.false == [wrong]
    assert found.precision == 0.0


def test_what_comes_after_the_end_explains_the_event_but_does_not_find_the_fault() -> None:
    found = match([FAULT], [sighting(END_MS + GRACE_MS + 1)], MEDIUM)
    assert recall(found.outcomes) == 0.0
    assert found.false == []


def test_faint_events_count_at_high_only() -> None:
    faint = sighting(START_MS + 1, level=HIGH)
    assert recall(match([FAULT], [faint], HIGH).outcomes) == 1.0
    assert recall(match([FAULT], [faint], MEDIUM).outcomes) == 0.0


def test_a_server_wide_fault_is_found_in_any_of_its_tools_and_metrics() -> None:
    wide = Fault(SERVER_WIDE, "s", "", START_MS, END_MS, 100.0, "")
    events = [
        sighting(START_MS + 1, tool="other"),
        sighting(START_MS + 2, metric="cpu"),
        sighting(START_MS + 3, metric="memory"),
    ]
    found = match([wide], events, MEDIUM)
    assert recall(found.outcomes) == 1.0
    assert found.false == events[2:]


def test_what_is_reported_before_the_time_that_counts_is_not_judged() -> None:
    found = match([FAULT], [sighting(1_000)], MEDIUM, since_ms=2_000)
    assert (found.explained, found.false) == (0, [])


def test_nothing_to_find_and_nothing_found_is_no_division_by_zero() -> None:
    found = match([], [], MEDIUM)
    assert (recall(found.outcomes), found.precision, median_delay_s(found.outcomes)) == (1.0, 1.0, None)


def test_names_of_classes_tell_size_and_unit() -> None:
    assert KIND.name == "latency spike x4"
    assert Class(BURST, 10.0, 1, 1, ()).name == "error burst 10 %"
    assert SERVER_WIDE.name == "server-wide"
