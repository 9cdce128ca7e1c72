"""An anomaly that the detector found, as a candidate for an alert. Strict: it comes over a socket.

The condition is `<anomalyType> detected`, its threshold the end of the expected range that was passed, in the seed the
upper one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from perfmon.wire.limits import MAX_NAME_BYTES
from services.alerter.core.model import Candidate, Fingerprint, Severity
from services.alerter.core.signals import signal_of_anomaly
from shared.timespan import BadTime, parse_iso

#: The severity that makes no alert.
INFO: Final = "info"
#: An anomaly that was last seen longer ago than three sweeps is no news: stored and reported, but nobody is woken.
ANOMALY_STALE_MS: Final = 15 * 60 * 1000
#: How long an anomaly's id is remembered.
ANOMALY_MEMORY_MS: Final = 30 * 24 * 60 * 60 * 1000
MAX_ID_CHARS: Final = 200
#: The methods that a reader can ask for by name; the parts of `auto` have names of their own, which tell a reader nothing.
NAMED_METHODS: Final = frozenset({"z-score", "moving-avg", "percentile"})

_TYPE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_RANGE = re.compile(r"\s*(-?[\d.]+(?:e[+-]?\d+)?)\s*[-–]\s*(-?[\d.]+(?:e[+-]?\d+)?)\s*", re.IGNORECASE)


class BadAnomaly(ValueError):
    """Not an anomaly; the message names what is wrong."""


class Anomaly(NamedTuple):
    """An id, and the candidate; None when its severity is below warning."""

    anomaly_id: str
    candidate: Candidate | None


def parse_anomaly(raw: object) -> Anomaly:
    """Raises: BadAnomaly."""
    if not isinstance(raw, Mapping):
        raise BadAnomaly("an anomaly is a map")
    anomaly_id = _text(raw, "id", MAX_ID_CHARS)
    severity = raw.get("severity")
    if severity == INFO:
        return Anomaly(anomaly_id, None)
    if severity not in ("warning", "critical"):
        raise BadAnomaly("severity: info, warning or critical")
    kind = _text(raw, "anomalyType", 64)
    if not _TYPE.fullmatch(kind):
        raise BadAnomaly("anomalyType: lower-case letters, digits and _")
    server, tool = _text(raw, "mcpServer", MAX_NAME_BYTES), _text(raw, "toolName", MAX_NAME_BYTES)
    details = raw.get("details")
    if not isinstance(details, Mapping):
        raise BadAnomaly("details: a map")
    value = _number(details.get("currentValue"), "details.currentValue")
    candidate = Candidate(
        Fingerprint(signal_of_anomaly(kind, details.get("metric")), server, tool),
        Severity(severity),
        f"{kind} detected",
        value,
        _limit(value, details.get("expectedRange")),
        _unit(details.get("unit")),
        _last_true(raw),
        f"anomaly found by {_method(details.get('method'))}",
        anomaly_id,
        anomaly_id=anomaly_id,
        usual_known=details.get("usualKnown") is not False,
    )
    return Anomaly(anomaly_id, candidate)


def ends(expected: object) -> tuple[float, float]:
    """The ends of `lo-hi`, where either may be negative or written with an exponent.

    Raises: BadAnomaly.
    """
    match = _RANGE.fullmatch(expected) if isinstance(expected, str) else None
    if match:
        try:
            low, high = float(match.group(1)), float(match.group(2))
        except ValueError:
            low = high = math.nan
        if math.isfinite(low) and math.isfinite(high):
            return low, high
    raise BadAnomaly("details.expectedRange: `lo-hi`")


def _limit(value: float, expected: object) -> float:
    """The end of the usual range that a value passed."""
    low, high = ends(expected)
    return low if value < low else high


def _last_true(raw: Mapping[str, Any]) -> int:
    """When it was last seen, by the latest of the times it states."""
    times = [raw.get(name) for name in ("endTs", "lastSeenTs", "peakTs", "startTs")]
    known = [value for value in times if isinstance(value, int) and not isinstance(value, bool) and value >= 0]
    stamp = raw.get("timestamp")
    if isinstance(stamp, str):
        try:
            known.append(parse_iso(stamp))
        except BadTime as error:
            raise BadAnomaly(f"timestamp: {error}") from error
    if not known:
        raise BadAnomaly("timestamp: an ISO-8601 time")
    return max(known)


def _text(raw: Mapping[str, Any], field: str, limit: int) -> str:
    value = raw.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise BadAnomaly(f"{field}: 1 to {limit} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadAnomaly(f"{field}: valid Unicode") from error
    return value


def _number(value: object, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadAnomaly(f"{field}: a finite number")
    return float(value)


def _unit(value: object) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9%/ ]{0,16}", value) else ""


def _method(value: object) -> str:
    return value if isinstance(value, str) and value in NAMED_METHODS else "the detector"
