"""The dashboard in words."""

from typing import Any

from services.gateway.core.arguments import GetDashboard
from services.gateway.core.dashboard_answer import dashboard_answer
from services.gateway.core.shaping import Answer


def dashboard(**reply: Any) -> Answer:
    return dashboard_answer(GetDashboard(), reply, "2025-10-31T13:00:00.000Z")


def test_a_value_of_zero_is_a_value():
    stopped = {
        "kind": "throughput_change",
        "severity": "info",
        "mcpServer": "billing",
        "toolName": "charge",
        "currentValue": 0,
        "unit": "calls/h",
    }
    assert "info throughput_change 0 calls/h  billing / charge" in dashboard(recentAnomalies=[stopped]).text
    unknown = stopped | {"currentValue": None}
    assert "info throughput_change  billing / charge" in dashboard(recentAnomalies=[unknown]).text
