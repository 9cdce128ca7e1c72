"""Health scores mean something: properties, not golden numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporter.core.answers import Alert, Stats
from services.reporter.core.health import (
    Health,
    glance,
    held_back,
    is_unremarkable,
    judge,
    no_data,
    of_system,
    status_of,
)
from services.reporter.core.sampling import supported_error_rate
from services.reporter.core.text import plain
from services.reporter.core.thresholds import Thresholds, read_thresholds

COUNTS = st.integers(1, 100_000)
LATENCIES = st.none() | st.floats(0, 1e7)


def calls(count: int, errors: int = 0, p95: float | None = 50.0, server: str = "s", tool: str = "") -> Stats:
    return Stats(server=server, tool=tool, count=count, errors=errors, p95=p95, p50=p95, avg=p95)


def open_alert(severity: str, status: str = "active") -> Alert:
    return Alert("alert-1", "s", "t", severity, status, "error_rate > 5%", 7.5, 5.0, 1, None, "")


def score(health: Health) -> int:
    assert health.score is not None
    return health.score


@given(COUNTS, st.data(), LATENCIES)
def test_more_errors_are_never_healthier(count: int, data: st.DataObject, p95: float | None) -> None:
    few = data.draw(st.integers(0, count))
    many = data.draw(st.integers(few, count))
    assert score(judge(calls(count, many, p95))) <= score(judge(calls(count, few, p95)))


@given(COUNTS, st.floats(0, 1e7), st.floats(0, 1e7), st.none() | st.floats(0, 1e7))
def test_slower_is_never_healthier(count: int, one: float, other: float, earlier: float | None) -> None:
    before = None if earlier is None else calls(1000, 0, earlier)
    fast, slow = sorted((one, other))
    assert score(judge(calls(count, 0, slow), before)) <= score(judge(calls(count, 0, fast), before))


@given(COUNTS, LATENCIES, st.floats(0, 100), st.floats(0, 100))
def test_what_always_fails_is_critical_and_near_zero_however_fast_and_whatever_the_thresholds(
    count: int, p95: float | None, warning: float, critical: float
) -> None:
    held_to = Thresholds({("error_rate", "warning", "", ""): warning, ("error_rate", "critical", "", ""): critical})
    health = judge(calls(count, count, p95), None, (), held_to)
    assert health.status == "critical"
    assert score(health) <= 5


@given(COUNTS, st.data(), LATENCIES, LATENCIES)
def test_a_glance_gives_the_same_score(
    count: int, data: st.DataObject, p95: float | None, earlier: float | None
) -> None:
    now = calls(count, data.draw(st.integers(0, count)), p95)
    before = data.draw(st.none() | st.just(calls(data.draw(st.integers(0, 50)), 0, earlier)))
    assert glance(now, before).score == judge(now, before).score
    assert glance(Stats()).status == "no_data"
    if is_unremarkable(now, before, Thresholds()):
        assert glance(now, before).score == 100


@given(st.integers(0, 10), st.integers(0, 10), st.integers(0, 5))
def test_more_open_alerts_are_never_healthier(warnings: int, criticals: int, more: int) -> None:
    base = [open_alert("warning")] * warnings + [open_alert("critical")] * criticals
    extra = [open_alert("critical")] * more
    assert score(judge(calls(100), None, base + extra)) <= score(judge(calls(100), None, base))


@given(COUNTS, st.data(), LATENCIES, LATENCIES)
def test_a_score_is_a_whole_number_from_0_to_100(
    count: int, data: st.DataObject, p95: float | None, before: float | None
) -> None:
    errors = data.draw(st.integers(0, count))
    health = judge(calls(count, errors, p95), calls(50, 0, before), [open_alert("critical")] * 7)
    assert 0 <= score(health) <= 100
    assert health.status == status_of(score(health))


@given(st.integers(0, 200), st.data())
def test_the_supported_error_rate_grows_with_errors_and_never_exceeds_what_was_seen(
    count: int, data: st.DataObject
) -> None:
    errors = data.draw(st.integers(0, count))
    low = supported_error_rate(errors, count)
    assert 0.0 <= low <= (100.0 * errors / count if count else 0.0) + 1e-9
    if errors < count:
        assert low <= supported_error_rate(errors + 1, count)


@pytest.mark.parametrize("last", [None, 1_761_900_000_000])
def test_no_data_has_no_score_and_is_never_healthy(last: int | None) -> None:
    for health in (judge(Stats(last_ts=last)), no_data(last), of_system([], last)):
        assert health.score is None
        assert health.status == "no_data"
        text = plain(health.reasons[0])
        assert text == ("no data yet" if last is None else "no data since 2025-10-31 08:40 UTC")


def test_a_quiet_fast_server_is_healthy() -> None:
    assert judge(calls(1000)).status == "healthy"
    assert judge(calls(1000)).score == 100


def test_few_calls_say_so() -> None:
    health = judge(calls(3))
    assert health.few_calls
    assert plain(health.reasons[-1]) == "only 3 calls: a first impression"
    assert plain(judge(calls(1)).reasons[-1]) == "only 1 call: a first impression"


def test_slow_relative_to_its_own_earlier_level_is_degraded_below_every_threshold() -> None:
    health = judge(calls(200, 0, 240.0), calls(200, 0, 60.0))
    assert health.status == "degraded"
    assert plain(health.reasons[0]) == "p95 240 ms, was 60 ms"


def test_a_baseline_of_few_calls_is_not_held_against_it() -> None:
    assert judge(calls(200, 0, 240.0), calls(19, 0, 60.0)).score == 100


def test_a_millisecond_more_on_a_fast_tool_is_nothing() -> None:
    assert judge(calls(200, 0, 1.2), calls(200, 0, 0.1)).score == 100


def test_slow_over_the_threshold_but_as_ever_is_degraded_not_critical() -> None:
    as_ever = judge(calls(200, 0, 8000.0), calls(200, 0, 8100.0))
    suddenly = judge(calls(200, 0, 8000.0), calls(200, 0, 300.0))
    assert as_ever.status == "degraded"
    assert suddenly.status == "critical"


def test_a_users_own_threshold_counts_for_its_server_alone() -> None:
    held_to = read_thresholds(
        {
            "thresholds": [
                {
                    "metric": "response_time",
                    "severity": "critical",
                    "threshold": 9000,
                    "mcpServer": "s",
                    "toolName": None,
                }
            ]
        }
    )
    slow, other = calls(200, 0, 2000.0, "s"), calls(200, 0, 2000.0, "other")
    assert score(judge(slow, None, (), held_to)) > score(judge(other, None, (), held_to))


@pytest.mark.parametrize(
    "junk", [None, 3, {"thresholds": "x"}, {"thresholds": [None, {"metric": 1}, {"metric": "cpu", "threshold": "1"}]}]
)
def test_thresholds_that_are_none_leave_the_defaults(junk: object) -> None:
    assert read_thresholds(junk).of("error_rate", "critical", "a", "b") == 5.0


def test_a_threshold_switched_off_for_a_server_does_not_fall_back_to_the_default() -> None:
    off = {"metric": "response_time", "severity": "critical", "threshold": 5, "mcpServer": "s", "enabled": False}
    assert read_thresholds({"thresholds": [off]}).of("response_time", "critical", "s", "t") is None
    assert read_thresholds({"thresholds": [off]}).of("response_time", "critical", "r", "t") == 1000.0


def test_acknowledged_alerts_weigh_less_and_resolved_ones_nothing() -> None:
    active, known, done = (
        score(judge(calls(100), None, [open_alert("critical", s)])) for s in ("active", "acknowledged", "resolved")
    )
    assert active < known < done == 100


def test_a_server_with_a_tool_that_always_fails_is_never_healthy_however_many_good_calls_it_has() -> None:
    own = judge(calls(1_000_000, 50))
    broken = judge(calls(50, 50, tool="broken"))
    held = held_back(own, [("fine", judge(calls(999_950))), ("broken", broken)], "tool")
    assert own.status == "healthy"
    assert held.status == "degraded"
    assert plain(held.reasons[-1]) == f'tool "broken" has health {broken.score} of 100'


@given(st.lists(st.tuples(st.integers(0, 100), COUNTS), min_size=1, max_size=8), st.data())
def test_a_worse_server_never_makes_the_system_healthier(servers: list[tuple[int, int]], data: st.DataObject) -> None:
    def system(scores: list[tuple[int, int]]) -> int:
        parts = [(str(i), Health(s, status_of(s), (), n < 5, n)) for i, (s, n) in enumerate(scores)]
        return score(of_system(parts, None))

    at = data.draw(st.integers(0, len(servers) - 1))
    worse = [(data.draw(st.integers(0, s)) if i == at else s, n) for i, (s, n) in enumerate(servers)]
    assert system(worse) <= system(servers)


def test_one_dead_server_among_many_keeps_the_system_from_being_healthy() -> None:
    servers = [(f"s{n}", judge(calls(10_000))) for n in range(30)] + [("dead", judge(calls(10, 10)))]
    health = of_system(servers, None)
    assert health.status == "degraded"
    assert '"dead"' in plain(health.reasons[0])
