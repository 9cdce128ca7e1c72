"""A report tells each incident of its range: whom it struck and since when, its likely cause, what to look at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import reporter_samples as samples

from services.reporter.core.answers import Alert, Anomaly
from services.reporter.core.compose import compose
from services.reporter.core.incident_stories import IncidentStory, stories
from services.reporter.core.incident_words import NAMED, said_of, title, when
from services.reporter.core.model import IN_ANSWER, ON_PAGE, Report
from services.reporter.core.reading import read_anomalies
from services.reporter.core.render_html import render as render_html
from services.reporter.core.render_json import as_object
from services.reporter.core.render_markdown import render as render_markdown
from services.reporter.core.text import plain

T0 = samples.END_MS - 3_600_000  # 2025-10-31T15:00:00Z
MINUTE = 60_000
CAUSE = "memory of “index” grew since 14:50Z, 10 min before its calls became slow"


def row(name: str, tool: str, kind: str, start: int, end: int | None, **more: Any) -> dict[str, Any]:
    """An anomaly of one incident of three, which memory is the cause of."""
    cause = {"anomaly": "memory-1", "kind": "resource_leak", "confidence": 0.71, "sentence": CAUSE}
    details = {"currentValue": 34.4, "expectedRange": "0-2", "metric": "error_rate", "unit": "%"}
    found = samples.anomaly(kind, "search", tool, "warning", start, end, **details)
    incident = {"id": "incident-20251031-1f3a", "members": 3, "since": "2025-10-31T14:50:00.000Z", "likelyCause": cause}
    return found | {"id": name, "incident": incident, "recommendations": [f"look at {name}."]} | more


def listed(*rows: dict[str, Any]) -> tuple[Anomaly, ...]:
    return read_anomalies({"anomalies": list(rows), "total": len(rows)}).rows


ROWS = (
    row("failing-1", "query", "error_rate_spike", T0 + MINUTE, T0 + 9 * MINUTE, severity="critical"),
    row("memory-1", "index", "resource_leak", T0, T0 + 10 * MINUTE),
)
NAMING = Alert(
    "alert-1", "search", "index", "warning", "active", "memory > 600MB", 700, 600, T0 + 99 * MINUTE, None, "",
    anomaly_ids=("memory-1",),
)  # fmt: skip
ABOUT = Alert(
    "alert-2", "search", "query", "critical", "active", "error_rate > 5%", 9, 5, T0 + 2 * MINUTE, None, ""
)  # fmt: skip


def told(story: IncidentStory) -> list[str]:
    return [plain(text) for text in said_of(story, NAMED)]


def test_an_incident_is_told_with_its_cause_its_alerts_and_where_to_look() -> None:
    (story,) = stories(listed(*ROWS), [NAMING, ABOUT, replace(ABOUT, raised_ms=T0 - 1, alert_id="before")])
    assert plain(title(story)) == '"incident-20251031-1f3a" of "search"'
    assert when(story) == "2025-10-31 14:50 UTC to 15:10Z"
    assert story.severity == "critical"
    assert told(story) == [
        '3 anomalies, 2 of them in this range, of "index", "query"',
        f"likely cause (confidence 0.71): {CAUSE}",
        "look at: look at memory-1.",
        '15:00 UTC: resource leak of "index", 34.4 %, usual 0–2 % ("memory-1")',
        '15:01 UTC: error rate spike of "query", 34.4 %, usual 0–2 % ("failing-1")',
        'alerts: "alert-1" (warning, memory > 600 MB); "alert-2" (critical, error_rate > 5 %)',
    ]


def test_an_incident_goes_on_while_one_of_its_anomalies_does_and_says_when_no_cause_stands_out() -> None:
    rows = [one | {"incident": one["incident"] | {"likelyCause": None}} for one in ROWS]
    (story,) = stories(listed(rows[0] | {"endTs": None}, rows[1]), [])
    assert when(story) == "2025-10-31 14:50 UTC, going on"
    assert "no cause stands out" in told(story)
    assert "look at: look at failing-1." in told(story), "the worst, where none is the cause"


def test_an_anomaly_alone_without_a_cause_is_no_incident_to_tell() -> None:
    alone = {"id": "incident-20251031-0001", "members": 1, "likelyCause": None}
    assert stories(listed(ROWS[0] | {"incident": alone}), []) == ()
    assert stories(listed(samples.anomalies()["anomalies"][0]), []) == ()


def test_the_severe_come_first_then_those_that_go_on_then_the_latest() -> None:
    def one(name: str, severity: str, start: int, end: int | None) -> dict[str, Any]:
        return row(name, "t", "error_rate_spike", start, end, severity=severity, incident={"id": name, "members": 2})

    rows = [
        one("old", "warning", T0, T0 + 1),
        one("late", "warning", T0 + 5, T0 + 6),
        one("open", "warning", T0, None),
        one("bad", "critical", T0, T0 + 1),
    ]
    assert [story.incident.incident_id for story in stories(listed(*rows), [])] == ["bad", "open", "late", "old"]


def report(*rows: dict[str, Any]) -> Report:
    raw = samples.raw_answers() | {"anomalies": {"anomalies": list(rows), "total": len(rows)}}
    return compose(samples.answered(raw), samples.SPAN, samples.END_MS)


def test_every_format_tells_the_incidents_and_says_nothing_where_there_are_none() -> None:
    with_one, without = report(*ROWS), report()
    (found,) = as_object(with_one, IN_ANSWER)["incidents"]
    assert (found["id"], found["until"], found["lookAt"]) == (
        "incident-20251031-1f3a",
        "2025-10-31T15:10:00.000Z",
        "look at memory-1.",
    )
    assert (found["likelyCause"], found["confidence"], found["anomalies"]) == (CAUSE, 0.71, ["memory-1", "failing-1"])
    assert f"- likely cause (confidence 0.71): {CAUSE}\n" in render_markdown(with_one, IN_ANSWER)
    assert CAUSE in render_html(with_one, ON_PAGE)
    assert "Incidents" not in render_markdown(without, IN_ANSWER) + render_html(without, ON_PAGE)
    assert as_object(without, IN_ANSWER)["incidents"] == []


def test_of_many_anomalies_and_incidents_the_first_are_named_and_the_others_counted() -> None:
    rows = [row(f"a{n}", f"t{n}", "error_rate_spike", T0 + n, T0 + MINUTE) for n in range(NAMED + 2)]
    (story,) = stories(listed(*rows), [])
    assert told(story)[0].endswith('"t4" and 2 more')
    assert told(story)[-1] == "and 2 more anomalies"
    many = [
        row(f"a{n}", "t", "error_rate_spike", T0, T0 + 1, incident={"id": f"i{n}", "members": 2})
        for n in range(IN_ANSWER.incidents + 1)
    ]
    whole = report(*many)
    assert len(as_object(whole, IN_ANSWER)["incidents"]) == IN_ANSWER.incidents
    assert as_object(whole, IN_ANSWER)["incidentsTotal"] == IN_ANSWER.incidents + 1
    assert f"Shown: {IN_ANSWER.incidents} of {IN_ANSWER.incidents + 1} incidents." in render_markdown(whole, IN_ANSWER)
