"""What changed thresholds mean for the alerts that are open: which of them a threshold covers, and whether they still hold.

An alert is judged anew only when the threshold behind its severity is another one than before; by the value it had when it was
last true, so nothing is raised or becomes worse here: that is for the next call to say. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from services.alerter.core import lifecycle
from services.alerter.core.metrics import Metric
from services.alerter.core.model import Alert, Severity
from services.alerter.core.thresholds import Scope, Threshold, Thresholds

_METRICS: Final = frozenset(Metric)


def covered(threshold: Threshold, alerts: Iterable[Alert]) -> list[Alert]:
    """The alerts about the metric of a threshold on series in its scope, those that an anomaly raised among them."""
    metric, _, scope = threshold.key
    return [
        alert
        for alert in alerts
        if alert.fingerprint.condition == metric
        and scope.covers(Scope(alert.fingerprint.server, alert.fingerprint.tool))
    ]


def rules_behind(alerts: Iterable[Alert], thresholds: Thresholds) -> dict[str, Threshold]:
    """The threshold behind the severity of each alert that a threshold worded, by the alert's id."""
    rules = ((alert.alert_id, _rule_behind(alert, thresholds)) for alert in alerts)
    return {alert_id: rule for alert_id, rule in rules if rule is not None}


def judged_anew(
    alerts: Iterable[Alert], behind: Mapping[str, Threshold], thresholds: Thresholds, now_ms: int
) -> Iterator[Alert]:
    """The alerts that other thresholds than those `behind` them change, as they are now: resolved, milder or worded anew."""
    for alert in alerts:
        before = behind.get(alert.alert_id)
        if before is None or _judging(before) == _judging(_rule_behind(alert, thresholds)):
            continue
        rule = _breached(alert, thresholds)
        if rule is None:
            yield lifecycle.resolved(alert, now_ms, by_change=True)
        elif not rule.key.severity.worse_than(alert.severity):
            yield lifecycle.restated(alert, rule.key.severity, rule.condition, rule.value, rule.threshold_id)


def _breached(alert: Alert, thresholds: Thresholds) -> Threshold | None:
    """The worst threshold that the alert's latest value is over, of those that hold."""
    for severity in (Severity.CRITICAL, Severity.WARNING):
        rule = _rule(alert, severity, thresholds)
        if rule is not None and rule.enabled and alert.candidate.value > rule.value:
            return rule
    return None


def _rule_behind(alert: Alert, thresholds: Thresholds) -> Threshold | None:
    return None if alert.candidate.anomaly_id is not None else _rule(alert, alert.severity, thresholds)


def _rule(alert: Alert, severity: Severity, thresholds: Thresholds) -> Threshold | None:
    condition, server, tool = alert.fingerprint
    return thresholds.resolve(Metric(condition), severity, server, tool) if condition in _METRICS else None


def _judging(rule: Threshold | None) -> tuple[object, ...]:
    return () if rule is None else (rule.enabled, rule.value, rule.aggregation, rule.window_ms)
