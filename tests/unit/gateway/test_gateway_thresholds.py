"""Thresholds, conditions and lists of alerts in words."""

from typing import Any

import pytest

from services.alerter.core.threshold_input import parse_threshold
from services.alerter.core.views import threshold_meaning, threshold_words
from services.gateway.core.alerts_answer import alerts_answer, threshold_answer
from services.gateway.core.arguments import GetActiveAlerts, SetAlertThreshold
from services.gateway.core.known_names import Known
from services.gateway.core.paging import Place
from shared.conditions import spaced, told_apart


def answered(**reply: Any) -> str:
    arguments = {"metric": "response_time", "threshold": 300.0, "severity": "warning", "mcpServer": "search"}
    return threshold_answer(SetAlertThreshold.model_validate(arguments), reply, None).text


def threshold(value: float, **scope: str) -> Any:
    return parse_threshold({"metric": "response_time", "threshold": value, "severity": "warning", **scope}, 0)


def test_the_other_thresholds_are_told_with_what_holds_where():
    mine, other = threshold(300, mcpServer="search"), threshold(5_000, mcpServer="search", toolName="wait >5ms")
    words = threshold_words(other, mine, "narrower")
    text = answered(meaning=threshold_meaning(mine), alsoApply=[{"words": words}])
    assert "has response_time > 300 ms.\nAnother threshold applies to some of the same calls:\n```untrusted\n" in text
    assert "response_time > 5000 ms for server 'search', tool 'wait >5" in text
    assert text.endswith("holds there instead of the one you set\n```")


def test_of_many_other_thresholds_the_first_are_told():
    text = answered(meaning="m", alsoApply=[{"words": f"the {n}th"} for n in range(30)])
    assert "the 4th\n… and 25 more" in text
    assert "the 5th" not in text
    assert "threshold" not in answered(meaning="m", alsoApply=[]).split(":")[1]


def test_alerts_that_a_threshold_ended_are_named():
    assert '. 1 alert ended by this: "alert-20251031-002".' in answered(
        meaning="m", resolvedAlerts=["alert-20251031-002"]
    )


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("response_time > 300ms", "response_time > 300 ms"),
        ("memory > 1e+12MB", "memory > 1e+12 MB"),
        ("error_rate > 0.5%", "error_rate > 0.5 %"),
        ("disk_io > 5KB", "disk_io > 5 KB"),
        ("resource_leak detected", "resource_leak detected"),
        ("tool 'wait_5ms'", "tool 'wait_5ms'"),
    ],
)
def test_figures_have_a_space_before_their_unit(condition, said):
    assert spaced(condition) == said


def test_conditions_in_the_list_of_alerts_are_spelled_as_other_text_is():
    alert = {"alertId": "alert-1", "severity": "warning", "condition": "cpu > 50%", "currentValue": 60}
    answer = alerts_answer(GetActiveAlerts(), {"alerts": [alert], "total": 1}, None, Place(0, 0, ""))
    assert "cpu > 50 %" in answer.text
    assert answer.data["alerts"][0]["condition"] == "cpu > 50%"


@pytest.mark.parametrize(
    ("asked", "opened", "said"),
    [
        ({}, 0, "No alert is open. Last metric: 1970-01-01T00:00:00.005Z. Held back: 3 in 24 h"),
        ({"mcpServer": "a"}, 0, "No open alert matches; no other is open."),
        ({"severity": "critical"}, 1, "No open alert matches; 1 other is open."),
        ({"status": "escalated"}, 2, "No open alert matches; 2 others are open."),
    ],
)
def test_a_list_without_alerts_says_whether_there_are_others(asked, opened, said):
    summary = {"totalActive": opened, "suppressed": {"stale": 3}}
    arguments = GetActiveAlerts.model_validate(asked)
    text = alerts_answer(arguments, {"alerts": [], "summary": summary}, Known(None, 5), Place(0, 0, "")).text
    assert text.startswith(said)
    assert ("Held back of all servers: 3 in 24 h" in text) == bool(asked)


def test_others_are_those_of_all_servers_while_the_summary_is_of_one():
    reply = {"alerts": [], "openTotal": 3, "summary": {"totalActive": 0}}
    asked = GetActiveAlerts.model_validate({"mcpServer": "quiet"})
    text = alerts_answer(asked, reply, Known(None, 5), Place(0, 0, "")).text
    assert text.startswith("No open alert matches; 3 others are open.")


@pytest.mark.parametrize(
    ("value", "limit", "said"),
    [
        (1.00334, 1.0, "1.003"),
        (0.9991, 1.0, "0.999"),
        (1.2, 1.0, None),
        (1.0, 1.0, None),
        (500.2, 500, "500.2"),
        (None, 1, None),
    ],
)
def test_a_value_is_told_apart_from_its_limit(value, limit, said):
    assert told_apart(value, limit, lambda number: f"{number:.0f}" if number != 1.2 else "1.2") == said
