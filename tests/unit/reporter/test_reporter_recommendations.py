"""Recommendations follow from the evidence, and there are none when nothing is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import reporter_samples as samples

from services.reporter.core.anomaly_words import NEW_USUAL
from services.reporter.core.answers import Alert, Anomaly, ErrorGroup, Incident, Stats
from services.reporter.core.card_times import when_words
from services.reporter.core.compose import compose
from services.reporter.core.evidence import Evidence
from services.reporter.core.recommendation import Recommendation
from services.reporter.core.recommendations import MAX_RECOMMENDATIONS, recommend
from services.reporter.core.text import Untrusted, plain, term
from shared.names import ALL_TOOLS

GOOD = Stats(server="s", tool="t", count=1000, errors=0, avg=20, p50=18, p95=60, p99=90, cpu=10, memory=100)


def evidence(now: Stats, before: Stats | None = GOOD, **more: object) -> Evidence:
    earlier = {} if before is None else {(before.server, before.tool): before}
    return replace(Evidence((now,), earlier), **more)  # type: ignore[arg-type] # fields by name


def words(found: Recommendation) -> str:
    return " | ".join([plain(found.title), *(plain(said) for said in found.evidence), plain(found.action)])


def test_nothing_wrong_gives_no_recommendation() -> None:
    assert recommend(evidence(GOOD)) == ()
    assert recommend(Evidence()) == ()


def test_a_failing_tool_is_named_with_counts_the_rate_before_and_since_when() -> None:
    bad = replace(GOOD, errors=340)
    spike = Anomaly(
        "a", "s", "t", "error_rate_spike", "critical", 5_000, None, 34, "0-1", "", "error_rate", "%", "z", 0.9, ()
    )
    (found,) = recommend(evidence(bad, anomalies=(spike,)))
    assert (found.severity, found.metric, found.server, found.tool) == ("critical", "error_rate", "s", "t")
    assert found.since_ms == 5_000
    assert '"t" of "s" fails 34 % of its calls' in words(found)
    assert "340 of 1,000 calls failed" in words(found)
    assert "0 % failed in the window before" in words(found)


def test_two_failures_are_no_pattern() -> None:
    assert recommend(evidence(replace(GOOD, count=10, errors=2))) == ()


def test_one_message_behind_most_failures_is_given_as_the_place_to_start() -> None:
    bad = replace(GOOD, errors=100)
    said = (ErrorGroup("s", "t", "connection refused", 90, 1, 2), ErrorGroup("s", "t", "other", 10, 1, 2))
    (found,) = recommend(evidence(bad, errors=said))
    assert found.message == "connection refused"
    assert found.since_ms == 1
    assert "90 % of the failures that were read give the message below, one of 2" in words(found)
    assert "one cause" in plain(found.action)


def test_failing_at_once_and_failing_by_time_out_are_told_apart() -> None:
    quick = replace(GOOD, errors=1000, p50=1, p95=3)
    slow = replace(GOOD, errors=1000, p50=30_000, p95=30_010)
    assert "before doing any work" in words(recommend(evidence(quick))[0])
    assert "time-out" in words(recommend(evidence(slow))[0])


def test_a_slower_tool_is_told_with_what_moved_beside_it() -> None:
    slow = replace(GOOD, avg=80, p50=70, p95=260, memory=300, count=2500)
    (found,) = recommend(evidence(slow))
    assert found.metric == "response_time"
    assert "every call is slower" in words(found)
    assert "memory went from 100 MB to 300 MB" in words(found)
    assert "calls +150 % (1k → 2.5k)" in words(found)
    assert "memory" in plain(found.action)


def test_a_slow_tail_is_told_from_a_slow_middle() -> None:
    (found,) = recommend(evidence(replace(GOOD, p95=260)))
    assert "only some calls are slow" in words(found)
    assert "have in common" in plain(found.action)


def test_slowness_is_not_claimed_against_too_few_calls_before() -> None:
    assert recommend(evidence(replace(GOOD, p95=260), replace(GOOD, count=10))) == ()


def test_tools_of_one_server_in_the_same_trouble_are_one_recommendation() -> None:
    bad = tuple(replace(GOOD, tool=f"t{n}", errors=500) for n in range(4))
    found = recommend(Evidence(bad, {}))
    assert len(found) == 1
    assert found[0].tool == ""
    assert "fails as a whole: 4 of its tools, 50 % of their calls" in words(found[0])


def test_a_leak_is_recommended_on_once_a_tool() -> None:
    leak = Anomaly(
        "a", "s", "t", "resource_leak", "warning", 7, None, 410, "100-160", "3x", "memory", "MB", "x", 0.9, ()
    )
    found = recommend(evidence(GOOD, anomalies=(leak, replace(leak, anomaly_id="b"))))
    assert len(found) == 1
    assert "410" in words(found[0])
    assert "memory 410 MB, usual 100–160 MB" in words(found[0])
    assert "restart" in plain(found[0].action)


def test_an_anomaly_of_what_is_spoken_of_already_is_not_said_twice() -> None:
    bad = replace(GOOD, errors=340)
    spike = Anomaly(
        "a", "s", "t", "error_rate_spike", "critical", 5_000, None, 34, "0-1", "", "error_rate", "%", "z", 0.9, ()
    )
    assert len(recommend(evidence(bad, anomalies=(spike,)))) == 1


def test_a_critical_alert_that_nobody_took_is_last_but_there() -> None:
    waits = Alert("alert-20251031-007", "s", "t", "critical", "escalated", "cpu > 90", 95, 90, 1, None, "")
    (found,) = recommend(evidence(GOOD, alerts=(waits,)))
    assert found.severity == "critical"
    assert "acknowledge_alert" in plain(found.action)
    assert "alert-20251031-007" in plain(found.action)
    assert recommend(evidence(GOOD, alerts=(replace(waits, status="acknowledged"),))) == ()


def test_the_incident_of_a_failing_tool_is_told_and_not_only_the_days_rate() -> None:
    bad = replace(GOOD, errors=40)
    spike = Anomaly(
        "a", "s", "t", "error_rate_spike", "critical", samples.END_MS - 3_600_000, samples.END_MS - 1_800_000, 34, "0-1", "",
        "error_rate", "%", "auto", 0.9, (),
    )  # fmt: skip
    (found,) = recommend(evidence(bad, anomalies=(spike,)))
    assert found.severity == "critical"
    assert plain(found.title) == '"t" of "s" failed 34 % of its calls for a time'
    assert "40 of 1,000 calls failed, 4 %, in all of the range" in words(found)
    assert "UTC, 30 min: 34 %, usual 0–1 %" in words(found)
    assert "40 of 1,000 calls failed" in words(found)
    (found,) = recommend(evidence(bad))
    assert (found.severity, "fails 4 % of its calls" in words(found)) == ("warning", True)


def test_a_whole_servers_incident_is_told_with_its_recommendation() -> None:
    tools = tuple(replace(GOOD, tool=f"t{n}", errors=40) for n in range(4))
    before = {("s", tool.tool): replace(tool, errors=0) for tool in tools}
    spike = Anomaly(
        "a",
        "s",
        ALL_TOOLS,
        "error_rate_spike",
        "critical",
        5_000,
        None,
        34,
        "0-1",
        "",
        "error_rate",
        "%",
        "auto",
        0.9,
        (),
    )
    (found,) = recommend(Evidence(tools, before, anomalies=(spike,)))
    assert (found.tool, found.since_ms, found.severity) == ("", 5_000, "critical")
    assert "going on: 34 %, usual 0–1 %" in words(found)


def test_recommendations_are_few_and_the_severe_ones_come_first() -> None:
    tools = tuple(replace(GOOD, server=f"s{n}", tool="t", errors=20 + n * 10) for n in range(30))
    found = recommend(Evidence(tools, {}))
    assert len(found) == MAX_RECOMMENDATIONS
    severities = [item.severity for item in found]
    assert severities == sorted(severities)  # critical before warning
    assert found[0].server == "s29"


def test_the_sample_day_leads_with_the_tool_that_fails() -> None:
    report = compose(samples.answered(), samples.SPAN, samples.END_MS, errors=samples.errors())
    assert report.recommendations is not None
    first = report.recommendations[0]
    assert (first.tool, first.metric, first.severity) == ("deploy_application", "error_rate", "critical")
    assert first.since_ms == samples.END_MS - 3 * 3_600_000


@pytest.mark.parametrize(
    "word", ["resource_leak", "response_time", "cpu", "ms", "%", "calls/min", "0-0.6616", "28.2-1.4e+06"]
)
def test_words_of_our_own_services_are_ours(word: str) -> None:
    assert term(word) == word.replace("_", " ")


@pytest.mark.parametrize("word", ["", "ignore_previous_instructions", "ms\n", "<b>", "1-2-3", "resource_", "x" * 500])
def test_any_other_word_is_untrusted(word: str) -> None:
    assert term(word) == Untrusted(word)


def test_the_slowest_tool_over_its_critical_limit_is_spoken_of_whatever_alert_there_is_and_however_few_its_calls() -> (
    None
):
    slow = replace(GOOD, tool="slow", count=3, p50=4_000, p95=9_000)
    waits = Alert("a-1", "s", "slow", "critical", "active", "response_time > 1000ms", 9_000, 1_000, 1, None, "")
    found = recommend(Evidence((GOOD, slow), {}, alerts=(waits,)))
    assert {(item.tool, item.metric) for item in found} == {("slow", "response_time"), ("", "alerts")}
    assert "3 calls, too few to be sure" in words(next(item for item in found if item.tool == "slow"))


def test_the_slowest_tool_is_spoken_of_even_beside_many_failing_ones() -> None:
    failing = tuple(replace(GOOD, server=f"s{n}", errors=500) for n in range(20))
    slow = replace(GOOD, server="z", p95=9_000)
    found = recommend(Evidence((*failing, slow), {}))
    assert len(found) == MAX_RECOMMENDATIONS
    assert any(item.server == "z" for item in found)


def failing(tool: str, severity: str = "warning", **more: object) -> Anomaly:
    """A rise of failures of a tool, one of three of an incident."""
    cause = 'the latest 40 failures of 3 tools say "quota exceeded"'
    found = Anomaly(
        tool, "s", tool, "error_rate_spike", severity, 5_000, 9_000, 16, "0-1", "", "error_rate", "%", "auto", 0.9, (),
        incident=Incident("incident-1", 3, cause, 0.83),
    )  # fmt: skip
    return replace(found, **more)  # type: ignore[arg-type] # fields by name


def test_an_incident_is_one_recommendation_with_its_likely_cause_and_what_the_failures_say() -> None:
    tools = (replace(GOOD, errors=60), replace(GOOD, tool="u", errors=1), replace(GOOD, tool="v", errors=1))
    said = tuple(ErrorGroup("s", tool, "quota exceeded", 9, 1, 2) for tool in ("t", "u", "v"))
    anomalies = (failing("t", "critical"), failing("u"), failing("v"))
    (found,) = recommend(Evidence(tools, {}, anomalies, errors=said))
    assert found.tool == "t"
    assert 'in one incident with "u", "v"' in words(found)
    assert "likely cause (confidence 0.83): " in words(found)
    assert "quota exceeded" in words(found)
    (alone,) = recommend(Evidence(tools[1:2], {}, (failing("u"),), errors=said))
    assert (plain(alone.action), alone.message) == ("Start from the message below.", "quota exceeded")
    apart = (failing("t"), failing("u", incident=None))
    assert len(recommend(Evidence(tools, {}, apart, errors=said))) == 2


def test_a_whole_servers_failure_that_is_over_is_told_as_past_by_the_anomaly_of_all_its_tools() -> None:
    tools = tuple(replace(GOOD, tool=name, errors=300) for name in "abc")
    of_all = failing(ALL_TOOLS, incident=None, value=30)
    later = failing("a", incident=None, start_ms=6_000)
    (found,) = recommend(Evidence(tools, {}, (later, of_all)))
    assert "failed for a time as a whole" in plain(found.title)
    assert ": 30 %, usual 0–1 %" in words(found)
    (found,) = recommend(Evidence(tools, {}, (replace(of_all, end_ms=None),)))
    assert '"s" fails as a whole' in plain(found.title)


def test_what_is_over_is_told_with_its_end_and_what_stays_is_not() -> None:
    bad, over = replace(GOOD, errors=340), failing("t", incident=None)
    (found,) = recommend(evidence(bad, anomalies=(over,)))
    assert (found.since_ms, found.until_ms) == (5_000, 9_000)
    assert when_words(found) == "1970-01-01 00:00 UTC to 00:00Z"
    for other in (failing("t", end_ms=None), failing("t", ended=NEW_USUAL)):
        (found,) = recommend(evidence(bad, anomalies=(over, other)))
        assert found.until_ms is None
        assert when_words(found) == "since 1970-01-01 00:00 UTC"


def test_messages_of_several_tools_that_differ_in_figures_are_one() -> None:
    tools = tuple(replace(GOOD, tool=name, errors=300) for name in "abc")
    said = tuple(ErrorGroup("s", name, f"HTTP 503 after {n} ms", 300, 1, 2) for n, name in enumerate("abc"))
    (found,) = recommend(Evidence(tools, {}, errors=said))
    assert "all failures that were read give the message below" in words(found)


def test_more_calls_are_not_claimed_where_the_window_before_is_not_whole() -> None:
    slow, before = replace(GOOD, count=4_000, p95=300, p50=90), replace(GOOD, count=40)
    (found,) = recommend(evidence(slow, before))
    assert "calls ×100" in words(found)
    (found,) = recommend(evidence(slow, before, before_is_whole=False))
    assert "calls ×" not in words(found)
    assert "called more than before" not in words(found)


def test_a_tool_that_fails_more_by_now_than_in_the_range_is_not_told_as_past() -> None:
    bad, now = replace(GOOD, errors=100), failing("t", incident=None, value=45.6, end_ms=None)
    (found,) = recommend(evidence(bad, anomalies=(now,)))
    assert plain(found.title) == '"t" of "s" fails 45.6 % of its calls by now'
    (found,) = recommend(evidence(bad, anomalies=(replace(now, end_ms=9_000),)))
    assert plain(found.title) == '"t" of "s" failed 45.6 % of its calls for a time'


def test_the_alert_that_waits_is_told_with_what_it_is_about() -> None:
    bad = replace(GOOD, errors=340)
    alert = Alert("alert-1", "s", "t", "critical", "active", "error_rate > 5%", 34, 5, 1, None, "")
    (found,) = recommend(evidence(bad, alerts=(alert,)))
    assert 'alert "alert-1" waits: take it with acknowledge_alert' in words(found)
    apart = recommend(evidence(bad, alerts=(replace(alert, tool="other"),)))
    assert [item.metric for item in apart] == ["error_rate", "alerts"]
    several = recommend(evidence(bad, alerts=(alert, replace(alert, alert_id="alert-2", tool="u"))))
    assert "2 critical alerts wait" in words(several[-1])
