"""What an anomaly and a threshold have in common: the signal of a series that they are both about.

One fault makes a metric break its threshold and look abnormal at the same moment; whoever is woken needs to hear of it once.
Pure naming; what becomes of two that share a signal is `dedup` and `lifecycle`.
"""

from __future__ import annotations

from typing import Final

from services.alerter.core.metrics import Metric
from services.alerter.core.model import Candidate

#: The anomalies that say of a metric what its thresholds say. Others (the pace of calls) stand by themselves.
METRIC_OF_ANOMALY: Final = {
    "error_rate_spike": Metric.ERROR_RATE,
    "response_time_spike": Metric.RESPONSE_TIME,
    "response_time_shift": Metric.RESPONSE_TIME,
}


#: Those that say it of the resource that they are about.
OF_A_RESOURCE: Final = frozenset({"resource_spike", "resource_leak"})
RESOURCES: Final = frozenset({Metric.CPU, Metric.MEMORY, Metric.DISK_IO})


def signal_of_anomaly(kind: str, about: object = None) -> str:
    """The condition of an anomaly's fingerprint: its metric, or `anomaly:` and its type where no threshold says the same.
    `about`: what the anomaly names as its metric.
    """
    if kind in OF_A_RESOURCE and isinstance(about, str) and about in RESOURCES:
        return about
    metric = METRIC_OF_ANOMALY.get(kind)
    return f"anomaly:{kind}" if metric is None else metric.value


def joins(standing: Candidate, other: Candidate) -> bool:
    """Whether two candidates of one fingerprint say it by different means: an anomaly and a threshold, or two types of anomaly.
    Two thresholds, which differ in severity, are the same condition.
    """
    if standing.anomaly_id is None and other.anomaly_id is None:
        return False
    return standing.text != other.text
