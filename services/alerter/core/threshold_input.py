"""A threshold from what a user wrote: strict, because a threshold that is silently not what was meant is worse than none.

Serves the `thresholds.set` request and each entry of an edited `config/thresholds.json` alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from perfmon.wire.limits import MAX_NAME_BYTES
from services.alerter.core.metrics import (
    DEFAULT_MIN_CALLS,
    DEFAULT_WINDOW_MS,
    ERROR_MIN_CALLS,
    ERROR_MIN_FAILURES,
    KINDS,
    MAX_WINDOW_MS,
    MIN_WINDOW_MS,
    Aggregation,
    Metric,
)
from services.alerter.core.model import Severity
from services.alerter.core.thresholds import Key, Scope, Threshold

#: Calls that a user may ask for before a window counts.
MAX_MIN_CALLS: Final = 1_000_000
FIELDS: Final = (
    "metric",
    "threshold",
    "severity",
    "mcpServer",
    "toolName",
    "enabled",
    "aggregation",
    "windowMs",
    "minCalls",
)


_Named = TypeVar("_Named", Metric, Severity)


class BadThreshold(ValueError):
    """What was written is no threshold. `field` names what is wrong, the message what is accepted."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


def parse_threshold(raw: Mapping[str, Any], set_ms: int) -> Threshold:
    """The threshold of a map with the fields of `FIELDS`; `windowMs` is ms, the others as in the tool.

    Raises: BadThreshold.
    """
    unknown = sorted(str(name) for name in raw if name not in FIELDS)
    if unknown:
        raise BadThreshold(unknown[0][:60], f"unknown; accepted: {', '.join(FIELDS)}")
    metric = _choice(raw, "metric", Metric)
    severity = _choice(raw, "severity", Severity)
    scope = Scope(_name(raw, "mcpServer"), _name(raw, "toolName"))
    enabled = raw.get("enabled", True)
    if not isinstance(enabled, bool):
        raise BadThreshold("enabled", "true or false")
    aggregation, window_ms = _judging(raw, metric)
    calls = raw.get("minCalls")
    errors = metric is Metric.ERROR_RATE
    default_calls = 1 if window_ms is None else ERROR_MIN_CALLS if errors else DEFAULT_MIN_CALLS
    return Threshold(
        Key(metric, severity, scope),
        _value(raw, metric),
        enabled,
        aggregation,
        window_ms,
        min_calls=default_calls if calls is None else _whole(calls, "minCalls", 1, MAX_MIN_CALLS),
        min_failures=ERROR_MIN_FAILURES if errors and calls is None else None,
        set_ms=set_ms,
    )


def _judging(raw: Mapping[str, Any], metric: Metric) -> tuple[Aggregation, int | None]:
    """On every call as it arrives, unless an aggregation, a window or a number of calls is named."""
    kind = KINDS[metric]
    named, window, calls = raw.get("aggregation"), raw.get("windowMs"), raw.get("minCalls")
    if named is None and window is None and calls is None and metric is not Metric.ERROR_RATE:
        return Aggregation.CALL, None
    aggregation = kind.window_default
    if named is not None:
        accepted = ", ".join(kind.aggregations)
        if not isinstance(named, str) or named not in kind.aggregations:
            raise BadThreshold("aggregation", f"for {metric} one of {accepted}")
        aggregation = Aggregation(named)
    if aggregation is Aggregation.CALL:
        if window is not None or calls is not None:
            raise BadThreshold("aggregation", "`call` judges each call by itself and takes no window or minCalls")
        return aggregation, None
    if window is None:
        return aggregation, DEFAULT_WINDOW_MS
    return aggregation, _whole(window, "windowMs", MIN_WINDOW_MS, MAX_WINDOW_MS)


def _choice(raw: Mapping[str, Any], field: str, kind: type[_Named]) -> _Named:
    value = raw.get(field)
    accepted = [member.value for member in kind]
    if not isinstance(value, str) or value not in accepted:
        raise BadThreshold(field, f"one of {', '.join(accepted)}")
    return kind(value)


def _name(raw: Mapping[str, Any], field: str) -> str | None:
    value = raw.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise BadThreshold(field, "a name, or left out for every one")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise BadThreshold(field, "valid Unicode") from error
    if size > MAX_NAME_BYTES:
        raise BadThreshold(field, f"at most {MAX_NAME_BYTES} bytes")
    return value


def _value(raw: Mapping[str, Any], metric: Metric) -> float:
    value = raw.get("threshold")
    limit = KINDS[metric].limit
    text = f"a number from 0 to {limit:g} ({KINDS[metric].unit})"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadThreshold("threshold", text)
    if not math.isfinite(value) or not 0 <= value <= limit:
        raise BadThreshold("threshold", text)
    return float(value)


def _whole(value: object, field: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadThreshold(field, f"a whole number from {least} to {most}")
    return value
