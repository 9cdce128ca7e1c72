"""An anomaly's figures with their units, both levels of a lasting change, and what was held back, in words."""

from __future__ import annotations

from dataclasses import replace

from services.reporter.core.anomaly_words import (
    anomaly_expected,
    anomaly_kind,
    anomaly_value,
    anomaly_when,
    figure_text,
)
from services.reporter.core.answers import Alert
from services.reporter.core.reading import read_anomalies
from services.reporter.core.text import Untrusted
from services.reporter.core.wording import alert_unit
from shared.held_back import REASONS, held_back

T0 = 1_761_915_900_000  # 2025-10-31T13:05:00Z
ROW = {
    "id": "a",
    "mcpServer": "s",
    "toolName": "t",
    "anomalyType": "resource_spike",
    "severity": "info",
    "startTs": T0,
    "endTs": T0 + 3_600_000,
    "ended": "the new normal",
    "details": {
        "currentValue": 421,
        "expectedRange": "192.5-280.5",
        "unit": "MB",
        "usual": 200.3,
        "kind": "resource_step",
        "confidence": None,
    },
}


def test_a_lasting_change_is_told_by_both_levels_and_stays_when_it_does() -> None:
    (step,) = read_anomalies({"anomalies": [ROW], "total": 1}).rows
    assert anomaly_kind(step) == "resource_step"
    assert anomaly_value(step) == "200 MB → 421 MB"
    assert anomaly_expected(step) == "192.5–280.5 MB"
    assert anomaly_when(step) == "2025-10-31 13:05 UTC, stays: the new usual"
    assert anomaly_when(replace(step, ended="back inside")) == "2025-10-31 13:05 UTC, 1 h"
    assert anomaly_when(replace(step, end_ms=None)).endswith("going on")
    assert anomaly_when(replace(step, ended="", end_ms=T0 + 594_600)) == "2025-10-31 13:05 UTC, 10 min"
    assert anomaly_when(replace(step, ended="", end_ms=T0 + 65_000)).endswith(", 1.08 min")


def test_figures_are_ours_and_anything_else_is_not() -> None:
    (step,) = read_anomalies({"anomalies": [ROW], "total": 1}).rows
    for text in (
        "421 MB",
        "200 MB → 421 MB",
        "192.5–280.5 MB",
        "22.2 ms – 91.8 ms",
        "0 calls/30 min",
        "1,020 KB",
        "< 0.01 %",
    ):
        assert figure_text(step, text) == text
    for text in ("1 <b>", "<s>", "<ms 1>", "12](x)", "www.1", "odd", "4 MB|"):
        assert figure_text(step, text) == Untrusted(text)


def test_what_is_known_less_of_is_told_as_it_is() -> None:
    (step,) = read_anomalies({"anomalies": [ROW], "total": 1}).rows
    bare = replace(step, shape="", usual=None, unit="ms", value=1_390.0, expected="")
    assert (anomaly_kind(bare), anomaly_value(bare), anomaly_expected(bare)) == ("resource_spike", "1.39 s", "–")
    assert anomaly_expected(replace(bare, expected="411.6-2864")) == "412 ms – 2.86 s"
    assert anomaly_expected(replace(bare, expected="odd")) == "odd"
    assert anomaly_expected(replace(bare, expected="1.2.3-4")) == "1.2.3-4"
    assert anomaly_value(replace(bare, value=None)) == "–"
    assert anomaly_value(replace(bare, value=1_030.4, unit="MB")) == "1,030 MB"


def test_what_was_held_back_is_told_by_its_reason_most_of_it_first() -> None:
    assert held_back([("same_cause", 1), ("deduplicated", 1_200), ("stale", 0)]) == (
        "1,200 whose alert is open already; 1 of which another alert tells"
    )
    assert held_back([("odd`reason\n", 3)]) == "3 odd reason"
    assert held_back([("\u202e", 1)]) == "1 other"
    assert held_back([]) == ""
    assert len(held_back((f"reason{n}", 1) for n in range(40)).split("; ")) == len(REASONS)


def test_an_alert_about_the_pace_of_calls_has_its_anomalys_unit():
    alert = Alert("a", "s", "t", "warning", "active", "throughput_change detected", 0, 78.4, 1, None, "", "calls/h")
    assert alert_unit(alert) == "calls/h"
    assert alert_unit(replace(alert, unit="`calls")) == "calls/min"
