"""A figure is rounded once, from the figure itself, so that every answer and report tells the same."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.core.arguments import GetDashboard, GetMetrics
from services.gateway.core.dashboard_answer import dashboard_answer
from services.gateway.core.metrics_answer import metrics_answer
from services.gateway.core.paging import Place
from services.gateway.core.ranges import Range
from services.gateway.core.shaping import Data, printed
from services.reporter.core.figures import duration_text, percent_text

#: Told as .15, as 89.1 and as 189; rounded to data first, the last would be 188.
FIGURES = {"count": 6_877, "errorRate": 0.14541, "p95": 188.504, "avg": 89.1449}


def metrics(aggregation: str, detail: str = "compact", **row: Any) -> tuple[str, Data]:
    rows = [{"mcpServer": "s", "toolName": "t", "lastTs": 5, **FIGURES, **row}]
    reply = {"rows": rows, "rowsTotal": 1, "total": FIGURES, "source": "raw", "freshness": {}}
    arguments = GetMetrics.model_validate({"aggregation": aggregation, "detail": detail})
    found = metrics_answer(arguments, Range(0, 10), reply, Place(0, 10, ""))
    return found.text, found.data


def test_get_metrics_rounds_a_rate_once() -> None:
    text, data = metrics("error_rate")
    assert "errors 0.15 %" in text
    assert "\n0.15  6,877  s" in text
    assert data["metrics"][0]["value"] == data["summary"]["errorRate"] == 0.145


def test_get_metrics_rounds_every_column_once() -> None:
    text, _ = metrics("avg", "full")
    assert "p95 189 ms" in text
    assert " 189 " in text.splitlines()[-2]


def test_the_dashboard_rounds_once_and_its_data_is_brief() -> None:
    row = {"name": "s", "calls": 6_877, "errorRate": 0.14541, "p95": 188.504321}
    found = dashboard_answer(GetDashboard(), {"mcpServers": [row]}, "2025-10-31T13:00:00.000Z")
    assert "6,877  189     0.15" in found.text
    assert (found.data["mcpServers"][0]["errorRate"], found.data["mcpServers"][0]["p95"]) == (0.1454, 188.5)


@given(st.floats(0.01, 99.0))
def test_answers_tell_a_rate_as_reports_do(value: float) -> None:
    assert printed(value, "%") == percent_text(value)


@given(st.floats(0.01, 999.0))
def test_answers_tell_a_time_as_reports_do(value: float) -> None:
    assert printed(value, "ms") == duration_text(value)
