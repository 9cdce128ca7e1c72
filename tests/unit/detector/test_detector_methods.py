"""The named methods do exactly what their names say: compared with plain Python over the same calls."""

from __future__ import annotations

import contextlib
import math
import statistics

import numpy as np
import pytest

from services.detector.core.answers import methods
from services.detector.core.answers.answer import BadQuery, answer, parse_query
from services.detector.core.events import Event
from services.detector.core.metrics import GAP_CALLS, GAP_MS, SENSITIVITIES
from services.detector.core.state.budget import Budget
from services.detector.core.state.series import SeriesState, SortedCalls, Work
from shared.batch import Series
from tests.unit.detector.detector_kit import HOUR, KEY, MINUTE, T0, batch, feed, make_watch, ordinary, times

LIMITS = {
    "z-score": {"low": 3.0, "medium": 2.5, "high": 2.0},
    "moving-avg": {"low": 3.0, "medium": 2.0, "high": 1.5},
    "percentile": {"low": 0.999, "medium": 0.99, "high": 0.95},
}


def series_of(ts: np.ndarray, x: np.ndarray) -> SeriesState:
    series = SeriesState(KEY, 1, Budget())
    for at in range(0, len(ts), 100):
        part = ts[at : at + 100]
        calls = SortedCalls(part.copy(), x[None, at : at + 100].copy(), np.ones(len(part), np.uint8))
        list(series.absorb(calls, 0, len(part), Work(len(part))))
    return series


def plainly(ts: list[int], x: list[float], method: str, sensitivity: str) -> list[tuple[int, int, int, float]]:
    """(start, end, points, worst value) of the events, worked out call by call."""
    k = LIMITS[method][sensitivity]
    if method == "z-score":
        mean, deviation = statistics.fmean(x), statistics.pstdev(x)
        outside = [abs(v - mean) > k * deviation for v in x]
        over = [abs(v - mean) for v in x]
    elif method == "percentile":
        limit = sorted(x)[max(1, math.ceil(k * len(x) - 1e-9)) - 1]
        outside, over = [v > limit for v in x], list(x)
    else:
        before = [x[max(0, i - 20) : i] for i in range(len(x))]
        averages = [statistics.fmean(b) if len(b) >= 5 else math.inf for b in before]
        outside = [v > k * a for v, a in zip(x, averages, strict=True)]
        over = [v - k * a for v, a in zip(x, averages, strict=True)]
    events: list[list[int]] = []
    for i in (i for i, out in enumerate(outside) if out):
        if events and not (ts[i] - ts[events[-1][-1]] > GAP_MS and i - events[-1][-1] - 1 >= GAP_CALLS):
            events[-1].append(i)
        else:
            events.append([i])
    return [(ts[e[0]], ts[e[-1]], len(e), x[max(e, key=lambda i: (over[i], -i))]) for e in events]


def found(series: SeriesState, method: str, sensitivity: str, start: int, end: int) -> list[Event]:
    return [f.event(i) for f in methods.find(series, method, sensitivity, start, end) for i in range(len(f.groups))]


@pytest.mark.parametrize("method", LIMITS)
@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_method_finds_what_its_definition_says(method: str, sensitivity: str, seed: int) -> None:
    ts, x = times(700, 20_000), ordinary(700, seed, spread=0.5)
    x[[100, 101, 300, 301, 302, 640]] *= 9
    end = int(ts[-1])
    series = series_of(ts, x)
    for lookback in (HOUR, 6 * HOUR):
        inside = ts >= end - lookback
        events = found(series, method, sensitivity, end - lookback, end)
        expected = plainly(ts[inside].tolist(), x[inside].tolist(), method, sensitivity)
        if method == "moving-avg":  # the first calls of a lookback are averaged over those before it
            whole = plainly(ts.tolist(), x.tolist(), method, sensitivity)
            assert [e.start_ms for e in events][1:] == [s for s, *_ in whole if s >= end - lookback][-len(events) + 1 :]
            continue
        assert [(e.start_ms, e.end_ms, e.points, e.value) for e in events] == expected
        assert events or (method, sensitivity) == ("percentile", "low")  # whose limit is the largest of so few


def test_the_moving_average_is_literal_where_all_calls_are_held() -> None:
    ts, x = times(700, 20_000), ordinary(700, 3, spread=0.5)
    events = found(series_of(ts, x), "moving-avg", "high", T0, int(ts[-1]))
    expected = plainly(ts.tolist(), x.tolist(), "moving-avg", "high")
    assert [(e.start_ms, e.end_ms, e.points, e.value) for e in events] == expected


@pytest.mark.parametrize("method", LIMITS)
def test_beyond_the_calls_held_mean_deviation_and_percentiles_are_still_those_of_all(method: str) -> None:
    ts, x = times(20_000, 1_000), ordinary(20_000, 4, spread=0.5)
    x[5_000:5_005] = 50_000
    series = series_of(ts, x)
    end = int(ts[-1])
    assert not series.calls.covers(T0)
    worst = max(found(series, method, "low", T0, end), key=lambda e: e.value)
    assert worst.value == 50_000
    assert worst.start_ms <= ts[5_004]
    assert worst.end_ms is not None
    assert worst.end_ms >= ts[5_000]
    if method == "z-score":
        assert worst.upper == pytest.approx(x.mean() + 3 * x.std(), rel=1e-9)
    if method == "percentile":
        assert worst.upper == pytest.approx(np.sort(x)[math.ceil(0.999 * len(x)) - 1], rel=0.021)


@pytest.mark.parametrize("method", LIMITS)
def test_each_sensitivity_marks_at_least_the_calls_of_the_one_below(method: str) -> None:
    ts, x = times(900, 20_000), ordinary(900, 5, spread=0.8)
    series = series_of(ts, x)
    points = [sum(e.points for e in found(series, method, s, T0, int(ts[-1]))) for s in ("low", "medium", "high")]
    assert points == sorted(points)
    assert points[0] < points[-1]


@pytest.mark.parametrize("method", LIMITS)
@pytest.mark.parametrize("value", [0.0, 1.0, 1e300])
def test_flat_data_have_nothing_outside(method: str, value: float) -> None:
    ts = times(100)
    assert not found(series_of(ts, np.full(100, value)), method, "high", T0, int(ts[-1]))


@pytest.mark.parametrize("method", LIMITS)
def test_fewer_calls_than_needed_give_no_answer(method: str) -> None:
    ts = times(11)
    assert not found(series_of(ts, np.asarray([1.0] * 10 + [9e9])), method, "high", T0, int(ts[-1]))


def test_the_band_and_the_deviation_are_those_of_the_seeds_answer() -> None:
    ts, x = times(200), np.full(200, 100.0)
    x[::2] = 110.0
    x[150] = 5_000.0
    (event,) = found(series_of(ts, x), "z-score", "low", T0, int(ts[-1]))
    mean, deviation = statistics.fmean(x), statistics.pstdev(x)
    assert event.upper == pytest.approx(mean + 3 * deviation)
    assert event.lower == 0.0
    assert event.median == 100.0
    assert event.severity == "info"  # one call alone


# --- the answer ------------------------------------------------------------------------------------------------------


def ask(watch, **params):
    now = params.pop("now", watch.engine.newest_ts)
    return answer(watch, parse_query(params, now), contextlib.nullcontext)


def busy_watch():
    watch = make_watch()
    for number, tool in enumerate("abc"):
        x = ordinary(900, number)
        x[800 : 800 + 4 * number] *= 8 * number
        feed(watch, batch(times(900), x, key=Series("files", tool)))
    return watch


@pytest.mark.parametrize("method", ["auto", *LIMITS])
def test_answers_are_worst_first_cut_at_the_limit_and_counted_whole(method: str) -> None:
    watch = busy_watch()
    full = ask(watch, method=method, limit=100, detail="full")
    assert full["summary"]["total"] == len(full["anomalies"]) > 1
    ranks = [["info", "warning", "critical"].index(a["severity"]) for a in full["anomalies"]]
    assert ranks == sorted(ranks, reverse=True)
    one = ask(watch, method=method, limit=1, detail="full")
    counted = ("total", "bySeverity", "byType")
    assert [one["summary"][name] for name in counted] == [full["summary"][name] for name in counted]
    assert one["anomalies"] == full["anomalies"][:1]
    assert sum(full["summary"]["bySeverity"].values()) == sum(full["summary"]["byType"].values())
    pages = [ask(watch, method=method, limit=1, offset=place)["anomalies"] for place in (0, 1)]
    assert pages[0] + pages[1] == ask(watch, method=method, limit=2)["anomalies"]


@pytest.mark.parametrize("method", LIMITS)
def test_a_named_method_is_answered_by_tool_with_how_many_there_are_and_are_to_be_expected_by_chance(
    method: str,
) -> None:
    watch = busy_watch()
    every = ask(watch, method=method, limit=1_000, detail="full", sensitivity="high")
    brief = ask(watch, method=method, limit=1_000, sensitivity="high")
    for row in brief["anomalies"]:
        own = [a for a in every["anomalies"] if a["toolName"] == row["toolName"]]
        assert (row["events"], row["id"]) == (len(own), own[0]["id"])
        assert row["lastEventTs"] == max(a["lastSeenTs"] for a in own)
        assert "calls" in row
    assert brief["summary"]["rows"] == len(brief["anomalies"]) == len({a["toolName"] for a in every["anomalies"]})
    assert brief["summary"]["total"] == every["summary"]["total"] == sum(a["events"] for a in brief["anomalies"])
    expected = sum(a["expectedByChance"] for a in brief["anomalies"])
    assert brief["summary"]["expectedByChance"] == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("method", LIMITS)
@pytest.mark.parametrize("spread", [0.3, 0.6])
def test_as_many_are_expected_by_chance_as_ordinary_calls_have(method: str, spread: float) -> None:
    n = 2_000
    watch = make_watch()
    for seed in range(4):
        feed(
            watch, batch(times(n, 10_000), ordinary(n, seed, spread=spread), key=Series("server", f"tool-{seed}")), 500
        )
    found = ask(watch, method=method, sensitivity="medium")["summary"]
    assert found["expectedByChance"] / 1.5 <= found["total"] <= 1.5 * found["expectedByChance"] + 3


@pytest.mark.parametrize("method", LIMITS)
def test_what_goes_wrong_does_not_make_more_to_be_expected(method: str) -> None:
    calm, troubled, n = make_watch(), make_watch(), 2_000
    x = ordinary(n, 1, spread=0.3)
    feed(calm, batch(times(n, 10_000), x), 500)
    wrong = x.copy()
    wrong[1_000:1_020] *= 20
    feed(troubled, batch(times(n, 10_000), wrong), 500)
    expected = [ask(watch, method=method)["summary"]["expectedByChance"] for watch in (calm, troubled)]
    assert expected[1] <= expected[0] + 3


def test_a_named_method_claims_no_confidence_and_names_its_limit() -> None:
    watch, x = make_watch(), ordinary(400)
    x[350] = 5_000.0
    feed(watch, batch(times(400), x))
    (found,) = ask(watch, method="z-score", sensitivity="low")["anomalies"]
    assert found["details"]["confidence"] is None
    assert found["severity"] == "info"
    assert not found["incident"]
    assert found["summary"].startswith(
        "One call of “tool” of “server” was slow at 2025-10-10 01:27Z: 5,000 ms, usual are "
    )
    assert "by z-score: more than 3 deviations from the mean" in found["summary"]
    assert "confidence" not in found["summary"]


@pytest.mark.parametrize("method", ["auto", *LIMITS])
def test_only_the_series_asked_for_are_answered(method: str) -> None:
    watch = busy_watch()
    found = ask(watch, method=method, toolName="c", limit=100)
    assert {a["toolName"] for a in found["anomalies"]} == {"c"}
    assert found["coverage"]["series"] == 1
    assert not ask(watch, method=method, mcpServer="other")["anomalies"]


@pytest.mark.parametrize("method", ["auto", *LIMITS])
def test_an_answer_changes_nothing(method: str) -> None:
    watch = busy_watch()
    watch.book.dirty.clear()
    watch.take_lines()
    before = {name: repr(event) for name, event in watch.book.events.items()}
    assert ask(watch, method=method) == ask(watch, method=method)
    assert {name: repr(event) for name, event in watch.book.events.items()} == before
    assert not watch.take_lines()


def test_an_anomaly_has_the_seeds_keys_and_says_what_it_compared_with() -> None:
    found = ask(busy_watch(), toolName="c", detail="full")["anomalies"][0]
    assert set(found) >= {
        "timestamp", "mcpServer", "toolName", "anomalyType", "severity", "details", "recommendations", "id", "startTs",
        "endTs", "peakTs", "points", "evidence", "baseline",
    }  # fmt: skip
    details = found["details"]
    low, high = details["expectedRange"].split("-")
    assert 0 < float(low) < 100 < float(high) < details["currentValue"]
    assert details["deviation"] == f"{details['currentValue'] / float(high):.2g}x"
    assert (details["method"], details["metric"], details["unit"]) == ("auto", "response_time", "ms")
    assert found["baseline"]["median"] == pytest.approx(100, rel=0.1)
    assert found["evidence"]["changes"]["response_time"]["during"] > 1_000
    assert found["recommendations"]


def test_a_value_below_the_band_is_a_finding_of_the_z_score_that_says_it_fell() -> None:
    watch, memory = make_watch(), ordinary(400, 2, level=500.0, spread=0.02)
    memory[350:353] = 100.0
    same = np.full(400, 50.0)
    feed(watch, batch(times(400), ordinary(400, spread=0.02), cpu=same, memory=memory, disk_io=same))
    found = [
        a for a in ask(watch, method="z-score", sensitivity="low")["anomalies"] if a["details"]["metric"] == "memory"
    ]
    assert [(a["anomalyType"], a["severity"], a["details"]["direction"]) for a in found] == [
        ("resource_spike", "info", "below")
    ]
    (text,) = found[0]["recommendations"]
    assert text.startswith("Memory fell below its usual range, to 100 MB (usual: ")
    assert not ask(watch, method="auto", sensitivity="high")["anomalies"]


def test_calls_that_return_fast_are_told_from_slow_ones() -> None:
    watch, x = make_watch(), ordinary(400, 2, level=500.0, spread=0.02)
    x[350:353] = 10.0
    ok = np.ones(400)
    ok[350:353] = 0
    feed(watch, batch(times(400), x, ok))
    (fast,) = ask(watch, method="z-score", sensitivity="low")["anomalies"]
    assert (fast["details"]["direction"], fast["severity"]) == ("below", "info")
    assert fast["recommendations"][1] == "Failures rose with it, from 0 to 100 %: these calls may be refused early."
    x[350:353] = 5_000.0
    slow = make_watch()
    feed(slow, batch(times(400), x))
    (found,) = ask(slow, method="z-score", sensitivity="low")["anomalies"]
    assert found["details"]["direction"] == "above"
    assert "fell" not in " ".join(found["recommendations"])


def test_a_named_method_that_finds_nothing_says_how_many_auto_finds() -> None:
    watch, x = make_watch(), ordinary(400)
    x[300:] = 1_000.0
    feed(watch, batch(times(400), x))
    asked = {"lookbackMs": 20 * MINUTE}
    auto = ask(watch, method="auto", **asked)["summary"]
    assert auto["total"] > 0
    assert "autoFinds" not in auto
    silent = ask(watch, method="z-score", **asked)["summary"]
    assert (silent["total"], silent["autoFinds"]) == (0, auto["total"])


def test_coverage_says_since_when_and_how_much_was_seen() -> None:
    watch = busy_watch()
    coverage = ask(watch, lookbackMs=24 * HOUR)["coverage"]
    assert (coverage["sinceMs"], coverage["calls"], coverage["series"]) == (T0, 2_700, 3)
    assert coverage["seriesWithTooFewCalls"] == 0
    feed(watch, batch(times(5, start=watch.engine.newest_ts), [1.0] * 5, key=Series("files", "new")))
    assert ask(watch, method="z-score")["coverage"]["seriesWithTooFewCalls"] == 1
    nothing = ask(make_watch(), now=T0)["coverage"]
    assert (nothing["sinceMs"], nothing["calls"], nothing["series"]) == (None, 0, 0)


def test_a_lookback_that_ends_in_the_past_sees_only_the_past() -> None:
    watch = busy_watch()
    end = T0 + 700 * 15_000
    assert not [a for a in ask(watch, endMs=end, method="z-score")["anomalies"] if a["startTs"] > end]
    assert ask(watch, endMs=end, lookbackMs=HOUR)["coverage"]["calls"] == 3 * 241


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lookbackMs", 0), ("lookbackMs", 25 * HOUR), ("lookbackMs", "6h"), ("lookbackMs", True), ("limit", -1),
        ("limit", 1.5), ("sensitivity", "max"), ("method", "magic"), ("method", None), ("mcpServer", 3), ("endMs", -5),
        ("detail", "all"), ("detail", 5), ("detail", ["full"]),
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_is_refused_by_name(field: str, value: object) -> None:
    if value is None:
        assert parse_query({field: value} if field != "method" else {}, T0).method == "auto"
        return
    with pytest.raises(BadQuery, match=field) as refused:
        parse_query({field: value}, T0)
    assert refused.value.field == field
    assert MINUTE
