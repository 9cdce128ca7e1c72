"""The anomaly behind a tool's trouble: what it was while it lasted, which a whole day's figures hide. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from services.reporter.core.anomaly_words import anomaly_expected, anomaly_value, anomaly_when, figure_text
from services.reporter.core.answers import SEVERITIES, Anomaly
from services.reporter.core.evidence import Evidence
from services.reporter.core.text import Text
from shared.names import ALL_TOOLS

_KINDS: Final = {"error_rate": ("error",), "response_time": ("response_time", "duration")}
#: A title names the anomaly's rate where it is so many times that of the whole window.
TIMES: Final = 1.5


def incident_of(evidence: Evidence, server: str, tools: Collection[str], about: str) -> Anomaly | None:
    """The worst anomaly of that kind of some tools of a server, that of all of them together first, then the latest of equals."""
    found = [
        anomaly
        for anomaly in evidence.anomalies
        if anomaly.server == server and anomaly.tool in tools and anomaly.kind.startswith(_KINDS[about])
    ]
    return min(found, key=_order, default=None)


def _order(anomaly: Anomaly) -> tuple[int, bool, int]:
    return SEVERITIES.index(anomaly.severity), anomaly.tool != ALL_TOOLS, -(anomaly.start_ms or 0)


def incident_text(anomaly: Anomaly | None) -> tuple[Text, ...]:
    """`2025-10-31 13:05 UTC, 40 min: 34 %, usual 0–1 %`."""
    if anomaly is None or anomaly.value is None:
        return ()
    usual: Text = (", usual ", figure_text(anomaly, anomaly_expected(anomaly))) if anomaly.expected else ()
    return ((f"{anomaly_when(anomaly)}: ", figure_text(anomaly, anomaly_value(anomaly)), *usual),)
