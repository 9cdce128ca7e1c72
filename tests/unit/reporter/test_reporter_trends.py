"""A trend is claimed only where there is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporter.core.answers import Stats
from services.reporter.core.sampling import MIN_TREND_CALLS
from services.reporter.core.trends import Trend, compare

DAY = 86_400_000


def window(count: int, errors: int = 0, p95: float | None = 100.0, first: int = 0) -> Stats:
    return Stats(count=count, errors=errors, p50=p95, p95=p95, p99=p95, first_ts=first)


def trends(now: Stats, before: Stats | None) -> dict[str, Trend]:
    return {trend.metric: trend for trend in compare(now, before, 0, DAY)}


@given(st.integers(0, MIN_TREND_CALLS - 1), st.integers(0, 10_000), st.floats(0, 1e6), st.floats(0, 1e6))
def test_no_trend_of_rates_or_durations_is_claimed_on_too_few_calls(
    few: int, many: int, one: float, other: float
) -> None:
    for now, before in (
        (window(few, few, one), window(many, 0, other)),
        (window(many, many, one), window(few, 0, other)),
    ):
        for metric in ("error_rate", "p50", "p95", "p99"):
            trend = trends(now, before).get(metric)
            if trend is not None:
                assert trend.direction == "unknown"
                assert not trend.worse
                assert trend.change_percent is None
                assert "too few calls" in trend.words
                assert str(MIN_TREND_CALLS) in trend.words


def test_nothing_is_compared_without_a_window_before_or_without_any_calls() -> None:
    assert compare(window(100), None, 0, DAY) == ()
    assert compare(Stats(), Stats(), 0, DAY) == ()


def test_a_slower_p95_is_worse_and_says_from_what_to_what_with_the_sample_sizes() -> None:
    trend = trends(window(1200, 0, 170.0), window(1150, 0, 120.0))["p95"]
    assert (trend.direction, trend.worse) == ("up", True)
    assert trend.words == "+41.7 % (120 ms → 170 ms)"
    assert (trend.calls_now, trend.calls_before) == (1200, 1150)
    assert trend.change_percent == pytest.approx(41.667, abs=0.01)


def test_a_faster_p95_is_not_worse() -> None:
    trend = trends(window(1200, 0, 60.0), window(1150, 0, 120.0))["p95"]
    assert (trend.direction, trend.worse) == ("down", False)


@pytest.mark.parametrize(("now", "before"), [(105.0, 100.0), (2.0, 1.0), (0.0, 0.0)])
def test_small_moves_are_steady(now: float, before: float) -> None:
    assert trends(window(500, 0, now), window(500, 0, before))["p95"].direction == "steady"


def test_an_error_rate_within_chance_is_steady_and_one_beyond_it_rose() -> None:
    assert trends(window(100, 3), window(100, 1))["error_rate"].direction == "steady"
    risen = trends(window(1000, 100), window(1000, 10))["error_rate"]
    assert (risen.direction, risen.worse) == ("up", True)
    assert risen.words == "rose (1 % → 10 %)"


def test_the_number_of_calls_has_no_trend_when_the_window_before_was_only_partly_watched() -> None:
    trend = trends(window(1000), window(300, first=DAY // 2))["calls"]
    assert trend.direction == "unknown"
    assert "part of it" in trend.words


def test_of_a_window_before_that_was_nearly_empty_only_what_is_compared_has_a_change() -> None:
    found = trends(window(1000, 100, 170.0), window(40, first=DAY - 60_000))
    calls = found.pop("calls")
    assert calls.words == (
        "40 → 1,000; the number of calls is not compared: the window before has some only from part of it"
    )
    assert (calls.direction, calls.change_percent) == ("unknown", None)
    assert {metric: trend.direction for metric, trend in found.items()} == dict.fromkeys(
        ("error_rate", "p50", "p95", "p99"), "up"
    )


def test_more_calls_are_up_but_never_worse() -> None:
    trend = trends(window(1000), window(300))["calls"]
    assert (trend.direction, trend.worse) == ("up", False)


def test_a_tenfold_rise_is_written_as_a_factor() -> None:
    assert trends(window(300, 0, 1300.0), window(300, 0, 100.0))["p95"].words == "×13 (100 ms → 1.3 s)"
