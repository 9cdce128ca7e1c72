"""What to do about tools that are called no more. Pure; which are, and that it is unusual, is the detector's to say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from services.reporter.core.anomaly_words import anomaly_expected, figure_text
from services.reporter.core.answers import SEVERITIES, Anomaly
from services.reporter.core.evidence import Evidence
from services.reporter.core.figures import minute_text
from services.reporter.core.recommendation import Recommendation
from services.reporter.core.text import Text, Untrusted, tool_of

#: Tools whose usual pace is told.
NAMED: Final = 3


def stopped(evidence: Evidence) -> Iterator[Recommendation]:
    """One recommendation a server, whatever the severity: nobody else says that calls stopped."""
    groups: dict[str, list[Anomaly]] = defaultdict(list)
    for anomaly in evidence.anomalies:
        if anomaly.is_silence:
            groups[anomaly.server].append(anomaly)
    for server, group in groups.items():
        yield _of_server(evidence, server, group)


def _of_server(evidence: Evidence, server: str, silent: list[Anomaly]) -> Recommendation:
    first, single = silent[0], len(silent) == 1
    named: Text = tool_of(server, first.tool) if single else (f"{len(silent)} tools of ", Untrusted(server))
    last_ms = max((tool.last_ts or 0 for tool in evidence.tools if tool.server == server), default=0)
    action = "Check that the server runs and that its callers still know it."
    if last_ms > max(one.start_ms or 0 for one in silent):
        action = (
            f"Other tools of the server are called, so it runs: check what calls {'this one' if single else 'these'}."
        )
    return Recommendation(
        min((one.severity for one in silent), key=SEVERITIES.index),
        "throughput_change",
        server,
        first.tool if single else "",
        (*named, f" {'is' if single else 'are'} called no more"),
        (action,),
        tuple(_usual_pace(one) for one in silent[:NAMED]),
        min((one.start_ms for one in silent if one.start_ms is not None), default=None),
    )


def _usual_pace(anomaly: Anomaly) -> Text:
    usual: Text = (", usual ", figure_text(anomaly, anomaly_expected(anomaly))) if anomaly.expected else ()
    return (Untrusted(anomaly.tool), f": no call since {minute_text(anomaly.start_ms)}", *usual)
