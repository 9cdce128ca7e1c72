"""The state as plain JSON values and back, for the database. Strict on the way back: a file may have been damaged or planted.

Raises ValueError, KeyError or TypeError (together `Damaged`) for anything that is not what was written.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any, Final

from services.alerter.core.messages import Message
from services.alerter.core.metrics import Aggregation, Metric
from services.alerter.core.model import (
    Acknowledgement,
    Alert,
    Candidate,
    Fingerprint,
    Reason,
    Severity,
    Status,
    Told,
)
from services.alerter.core.outbox import ChannelState, Entry, Outbox
from services.alerter.core.rate_limit import Raised, RateLimit
from services.alerter.core.suppression import Held, Suppression
from services.alerter.core.thresholds import Key, Scope, Threshold
from services.alerter.core.waiting import Waiting, WaitingAnomalies

Damaged: Final = (ValueError, KeyError, TypeError, AttributeError)


def alert_out(alert: Alert) -> dict[str, Any]:
    """Enums are strings already; named tuples become lists."""
    return asdict(alert)


def alert_in(raw: dict[str, Any]) -> Alert:
    """The alert that `alert_out` wrote."""
    return Alert(
        **{
            **raw,
            "candidate": candidate_in(raw["candidate"]),
            "severity": Severity(raw["severity"]),
            "status": Status(raw["status"]),
            "acknowledgement": _acknowledgement(raw["acknowledgement"]),
            "previous_acknowledgement": _acknowledgement(raw["previous_acknowledgement"]),
            "anomaly_ids": tuple(str(each) for each in raw.get("anomaly_ids", ())),
        }
    )


def candidate_in(raw: dict[str, Any]) -> Candidate:
    """The candidate that `asdict` wrote."""
    return Candidate(**{**raw, "fingerprint": Fingerprint(*raw["fingerprint"]), "severity": Severity(raw["severity"])})


def threshold_out(threshold: Threshold) -> dict[str, Any]:
    """As `threshold_in` reads it."""
    return asdict(threshold)


def threshold_in(raw: dict[str, Any]) -> Threshold:
    """The threshold that `threshold_out` wrote."""
    metric, severity, scope = raw["key"]
    key = Key(Metric(metric), Severity(severity), Scope(*scope))
    return Threshold(**{**raw, "key": key, "aggregation": Aggregation(raw["aggregation"])})


def rate_out(rate: RateLimit) -> list[list[Any]]:
    """[server, ts_ms, severity] of each."""
    return [[server, *entry] for server, entries in rate.raised.items() for entry in entries]


def rate_in(rate: RateLimit, raw: list[list[Any]]) -> None:
    """Fill an empty rate limit."""
    for server, ts_ms, severity in raw:
        rate.raised.setdefault(str(server), []).append(Raised(int(ts_ms), Severity(severity)))


def suppression_out(suppression: Suppression) -> dict[str, Any]:
    """Counts, and what is listed."""
    return {
        "hours": {str(hour): {r.value: n for r, n in counts.items()} for hour, counts in suppression.hours.items()},
        "listed": [asdict(held) for held in suppression.listed.values()],
        "counted": [[*key, reason, hour] for (key, reason), hour in suppression.counted.items()],
    }


def suppression_in(suppression: Suppression, raw: dict[str, Any]) -> None:
    """Fill an empty suppression."""
    for hour, counts in raw["hours"].items():
        suppression.hours[int(hour)] = Counter({Reason(reason): int(n) for reason, n in counts.items()})
    for row in raw["listed"]:
        held = Held(**{**row, "candidate": candidate_in(row["candidate"]), "reason": Reason(row["reason"])})
        suppression.listed[held.candidate.fingerprint] = held
    for condition, server, tool, reason, hour in raw["counted"]:
        suppression.counted[Fingerprint(condition, server, tool), Reason(reason)] = int(hour)


def waiting_out(waiting: WaitingAnomalies) -> list[list[Any]]:
    """[key, anomaly id, condition, server, tool, ts_ms] of each."""
    return [[one.key, one.anomaly_id, *one.fingerprint, one.ts_ms] for one in waiting.entries.values()]


def waiting_in(waiting: WaitingAnomalies, raw: list[list[Any]]) -> None:
    """Fill an empty one."""
    for key, anomaly_id, condition, server, tool, ts_ms in raw:
        waiting.add(Waiting(str(key), str(anomaly_id), Fingerprint(str(condition), str(server), str(tool)), int(ts_ms)))


def outbox_out(outbox: Outbox) -> dict[str, Any]:
    """Entries in their order, and how the channels fare."""
    return {
        "entries": [asdict(entry) for entry in outbox.entries.values()],
        "channels": {name: asdict(state) for name, state in outbox.channels.items()},
    }


def outbox_in(outbox: Outbox, raw: dict[str, Any]) -> None:
    """Fill an empty outbox; `configure` it afterwards."""
    for row in raw["entries"]:
        entry = Entry(**{**row, "told": Told(row["told"]), "message": Message(*row["message"])})
        outbox.entries[entry.key] = entry
    for name, state in raw["channels"].items():
        outbox.channels[name] = ChannelState(**state)


def _acknowledgement(raw: dict[str, Any] | None) -> Acknowledgement | None:
    return None if raw is None else Acknowledgement(**raw)
