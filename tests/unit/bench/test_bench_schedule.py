"""The fixed-rate schedule and the correction for coordinated omission."""

from __future__ import annotations

import pytest

from bench.schedule import Schedule, quantile, spread_ms


def test_messages_are_due_at_even_distances_from_the_start() -> None:
    schedule = Schedule(per_s=100, seconds=2)
    assert schedule.total == 200
    assert [schedule.due_s(number) for number in (0, 1, 150)] == [0, 0.01, 1.5]


@pytest.mark.parametrize(("elapsed_s", "due"), [(-0.1, 0), (0, 1), (0.0099, 1), (0.01, 2), (1.0, 101), (99, 200)])
def test_what_is_due_counts_the_message_of_that_very_moment(elapsed_s: float, due: int) -> None:
    assert Schedule(per_s=100, seconds=2).due_by(elapsed_s) == due


@pytest.mark.parametrize("per_s", [0.3, 3, 7, 1_000, 33_333])
def test_every_message_is_due_at_its_own_time_and_not_before(per_s: float) -> None:
    schedule = Schedule(per_s, seconds=3)
    for number in range(0, schedule.total, max(1, schedule.total // 50)):
        assert schedule.due_by(schedule.due_s(number)) == number + 1
        assert schedule.due_by(schedule.due_s(number) - 1e-6) <= number


def test_a_stall_counts_for_every_message_that_was_due_meanwhile() -> None:
    schedule = Schedule(per_s=10, seconds=1)
    # Answered at once, then nothing for 0.5 s: an uncorrected clock would have seen one wait of 0.5 s and five of nothing.
    answered = [0.0, 0.1, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.8, 0.9]
    waits = [schedule.waited_s(number, at) for number, at in enumerate(answered)]
    assert waits == pytest.approx([0, 0, 0.5, 0.4, 0.3, 0.2, 0.1, 0, 0, 0])


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Schedule(per_s=0, seconds=1)


def test_quantiles_are_nearest_rank() -> None:
    ordered = [float(value) for value in range(1, 1_001)]
    assert [quantile(ordered, q) for q in (0.5, 0.9, 0.99, 0.999, 1.0)] == [500, 900, 990, 999, 1_000]
    assert quantile([7.0], 0.001) == 7


def test_a_spread_is_told_in_milliseconds_with_its_maximum() -> None:
    spread = spread_ms([0.004, 0.001, 0.002, 0.003])
    assert spread == {"p50_ms": 2, "p90_ms": 4, "p99_ms": 4, "p99.9_ms": 4, "max_ms": 4}
