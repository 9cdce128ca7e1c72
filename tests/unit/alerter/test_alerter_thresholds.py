"""Thresholds: which one holds, and what is refused."""

from __future__ import annotations

import json
import math

import pytest

from services.alerter.core.metrics import Aggregation, Metric
from services.alerter.core.model import Severity
from services.alerter.core.threshold_input import BadThreshold, parse_threshold
from services.alerter.core.thresholds import DEFAULTS, Scope, Thresholds
from services.alerter.core.views import threshold_meaning, threshold_view
from services.alerter.shell.thresholds_file import ThresholdsFile, parse_file

GOOD = {"metric": "response_time", "threshold": 200, "severity": "warning"}
NOW = 1_761_915_600_000


def _set(thresholds: Thresholds, **fields):
    threshold = parse_threshold(GOOD | fields, NOW)
    thresholds.set(threshold)
    return threshold


def _value(thresholds: Thresholds, server: str, tool: str) -> float | None:
    found = thresholds.resolve(Metric.RESPONSE_TIME, Severity.WARNING, server, tool)
    return found.value if found else None


def test_the_most_specific_threshold_holds():
    thresholds = Thresholds()
    assert _value(thresholds, "s", "t") == 500
    _set(thresholds, threshold=1)
    _set(thresholds, threshold=2, toolName="t")
    assert _value(thresholds, "s", "t") == 2
    _set(thresholds, threshold=3, mcpServer="s")
    assert _value(thresholds, "s", "t") == 3
    _set(thresholds, threshold=4, mcpServer="s", toolName="t")
    assert _value(thresholds, "s", "t") == 4
    assert [_value(thresholds, *series) for series in (("s", "u"), ("r", "t"), ("r", "u"))] == [3, 2, 1]


def test_setting_a_threshold_again_replaces_it_under_the_same_id():
    thresholds = Thresholds()
    first = _set(thresholds, mcpServer="s")
    second = _set(thresholds, mcpServer="s", threshold=300, aggregation="p99")
    assert first.threshold_id == second.threshold_id
    assert thresholds.chosen() == [second]


def test_related_thresholds_are_named_with_their_relation():
    thresholds = Thresholds()
    _set(thresholds, mcpServer="s", toolName="t")
    _set(thresholds, mcpServer="other")
    _set(thresholds, toolName="t")
    asked = _set(thresholds, mcpServer="s")
    related = [(other.threshold_id.split("-")[0], relation) for other, relation in thresholds.related(asked)]
    assert related == [
        ("threshold", "narrower"),
        ("threshold", "overlapping"),
        ("default", "wider"),
        ("default", "wider"),
    ]


def test_only_a_users_error_rate_and_named_windows_are_judged_over_a_window():
    assert parse_threshold(GOOD, NOW).aggregation is Aggregation.CALL
    assert parse_threshold(GOOD | {"metric": "cpu"}, NOW).aggregation is Aggregation.CALL
    errors = parse_threshold({"metric": "error_rate", "threshold": 2, "severity": "warning"}, NOW)
    assert (errors.window_ms, errors.min_calls, errors.min_failures) == (300_000, 20, 5)
    window = parse_threshold(GOOD | {"windowMs": 60_000}, NOW)
    assert (window.aggregation, window.window_ms, window.min_calls) == (Aggregation.P95, 60_000, 5)
    assert parse_threshold(GOOD | {"aggregation": "max"}, NOW).window_ms == 300_000
    assert parse_threshold(GOOD | {"minCalls": 50}, NOW).min_calls == 50


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threshold", math.nan),
        ("threshold", math.inf),
        ("threshold", -1),
        ("threshold", "500"),
        ("threshold", True),
        ("threshold", None),
        ("threshold", 1e300),
        ("metric", "latency"),
        ("metric", ["cpu"]),
        ("severity", "info"),
        ("severity", None),
        ("mcpServer", ""),
        ("mcpServer", "x" * 1025),
        ("mcpServer", "\udcff"),
        ("mcpServer", 7),
        ("toolName", {}),
        ("enabled", "yes"),
        ("enabled", 1),
        ("aggregation", "count"),
        ("aggregation", "error_rate"),
        ("aggregation", 95),
        ("windowMs", 9_999),
        ("windowMs", 86_400_001),
        ("windowMs", 60_000.0),
        ("windowMs", True),
        ("minCalls", 0),
        ("minCalls", "5"),
        ("durationMs", 5),
    ],
)
def test_what_is_no_threshold_is_refused_with_its_field(field, value):
    with pytest.raises(BadThreshold) as refused:
        parse_threshold(GOOD | {field: value}, NOW)
    assert refused.value.field == field


def test_an_error_rate_over_a_hundred_percent_and_a_percentile_of_it_are_refused():
    with pytest.raises(BadThreshold, match="100"):
        parse_threshold({"metric": "error_rate", "threshold": 101, "severity": "warning"}, NOW)
    with pytest.raises(BadThreshold, match="error_rate"):
        parse_threshold({"metric": "error_rate", "threshold": 1, "severity": "warning", "aggregation": "p95"}, NOW)


def test_call_takes_no_window():
    with pytest.raises(BadThreshold, match="call"):
        parse_threshold(GOOD | {"aggregation": "call", "windowMs": 60_000}, NOW)


def test_every_threshold_says_what_it_means():
    for threshold in [*DEFAULTS, parse_threshold(GOOD | {"enabled": False}, NOW), parse_threshold(GOOD, NOW)]:
        assert threshold.key.metric in threshold_meaning(threshold)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"mcpServer": "s", "toolName": "a/b\n"},
        {"aggregation": "p99", "windowMs": 60_000, "minCalls": 7},
        {"metric": "error_rate", "threshold": 3},
        {"metric": "error_rate", "threshold": 3, "minCalls": 9},
        {"enabled": False},
    ],
)
def test_a_threshold_survives_its_own_file(fields, tmp_path):
    threshold = parse_threshold(GOOD | fields, NOW)
    file = ThresholdsFile(tmp_path)
    (found,) = parse_file(file.render([threshold], NOW), NOW + 5)
    assert found == threshold
    assert json.loads(file.render([threshold], NOW))["thresholds"][0] == threshold_view(threshold)


def test_our_own_file_is_no_edit_and_an_edited_one_is_read_once(tmp_path):
    file = ThresholdsFile(tmp_path)
    file.write(file.render([], NOW))
    assert file.edited(NOW) is None
    again = ThresholdsFile(tmp_path)
    again.digests = file.digests
    assert again.edited(NOW) is None
    body = json.loads(file.path.read_bytes())
    body["thresholds"] = [GOOD]
    file.path.write_text(json.dumps(body))
    (found,) = again.edited(NOW)
    assert found.value == 200
    assert again.edited(NOW) is None


def test_a_crash_between_the_database_and_the_file_is_no_edit(tmp_path):
    file = ThresholdsFile(tmp_path)
    file.write(file.render([], NOW))
    for value in (1, 2):  # the first write failed too
        file.render([parse_threshold(GOOD | {"threshold": value}, NOW)], NOW)
    restarted = ThresholdsFile(tmp_path)
    restarted.digests = file.digests
    assert restarted.edited(NOW) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"thresholds": 5}',
        b'{"thresholds": [null]}',
        b'{"thresholds": [{"metric": "cpu"}]}',
        b'{"thresholds": [{"metric": "cpu", "threshold": NaN, "severity": "warning"}]}',
        b'{"thresholds": [{"metric": "cpu", "threshold": 1e999, "severity": "warning"}]}',
        b'{"thresholds": [{"metric": "cpu", "threshold": 1, "severity": "warning", "command": "rm"}]}',
        json.dumps({"thresholds": [GOOD, GOOD | {"threshold": 2}]}).encode(),
        b"[" * 100_000,
    ],
)
def test_a_bad_file_is_kept_aside_and_changes_nothing(content, tmp_path):
    file = ThresholdsFile(tmp_path)
    file.path.write_bytes(content)
    assert file.edited(NOW) is None
    assert file.missing()
    assert (tmp_path / "thresholds.json.unusable-1").read_bytes() == content


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path):
    target = tmp_path / "elsewhere"
    target.write_text(json.dumps({"thresholds": [GOOD]}))
    file = ThresholdsFile(tmp_path)
    file.path.symlink_to(target)
    assert file.edited(NOW) is None
    file.write(file.render([], NOW))
    assert not file.path.is_symlink()
    assert json.loads(target.read_text()) == {"thresholds": [GOOD]}


def test_scopes_cover_and_meet_as_they_say():
    everything, server, tool, both = Scope(), Scope("s"), Scope(None, "t"), Scope("s", "t")
    assert everything.covers(both)
    assert not both.covers(server)
    assert server.meets(tool)
    assert not Scope("r").meets(both)
    assert sorted([everything, both, tool, server], key=Scope.breadth) == [both, server, tool, everything]


@pytest.mark.parametrize(
    ("fields", "meaning"),
    [
        (
            {"metric": "error_rate", "threshold": 2, "severity": "warning", "mcpServer": "search"},
            (
                "a warning alert when any tool of this server has error_rate > 2 % over 5 min, from 20 calls or 5 failures on; "
                "fewer than 3 failures count only where the rate is surely above it"
            ),
        ),
        (
            {"metric": "response_time", "threshold": 300, "severity": "critical", "aggregation": "p95"},
            "a critical alert when any tool of any server has p95 response_time > 300 ms over 5 min, from 5 calls",
        ),
        (
            {"metric": "memory", "threshold": 600, "severity": "warning", "mcpServer": "s", "toolName": "t"},
            "a warning alert when one call of this tool of this server has memory > 600 MB",
        ),
    ],
)
def test_what_a_threshold_does_is_said_in_plain_words(fields, meaning):
    assert threshold_meaning(parse_threshold(fields, 0)) == meaning
