"""The alerter's methods: what each accepts and answers. A mutation is on disk, and the views written, before it is answered.

They run in the query worker, so that `ping` is answered while one waits for the lock or reads the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from services.alerter.core.anomalies import MAX_ID_CHARS, BadAnomaly
from services.alerter.core.events import Acknowledged, AnomalyFound, ThresholdSet
from services.alerter.core.limits import CannotDo
from services.alerter.core.metrics import DEFAULT_WINDOW_MS
from services.alerter.core.model import Alert, Reason, Severity, Status
from services.alerter.core.rejudge import covered
from services.alerter.core.threshold_input import BadThreshold, parse_threshold
from services.alerter.core.thresholds import Threshold
from services.alerter.core.views import (
    MAX_HELD_SHOWN,
    alert_view,
    held_view,
    summary_view,
    threshold_meaning,
    threshold_view,
    threshold_words,
    worst_first,
)
from services.alerter.shell.state import AlerterState
from shared.consumer import Consumer
from shared.names import nearest, shown
from shared.rpc import Refusal, RpcServer
from shared.runtime.service import now_ms
from shared.timespan import iso

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 10_000
#: Characters of who acknowledges, and of their notes.
MAX_BY_CHARS: Final = 200
MAX_NOTES_CHARS: Final = 2_000

_Chosen = TypeVar("_Chosen", Severity, Status)


class Requests:
    """The methods, over the state and the consumer that saves it."""

    def __init__(self, state: AlerterState, consumer: Consumer) -> None:
        self._state = state
        self._consumer = consumer

    def register(self, rpc: RpcServer) -> None:
        """Answer all methods."""
        queries: dict[str, Callable[[dict[str, Any]], Any]] = {
            "thresholds.list": self.list_thresholds,
            "alerts.list": self.list_alerts,
            "alerts.history": self.history,
            "channels": self.channels,
            "windows": self.windows,
        }
        mutations: dict[str, Callable[[dict[str, Any]], Any]] = {
            "thresholds.set": self.set_threshold,
            "alerts.acknowledge": self.acknowledge,
            "anomaly.raise": self.raise_anomaly,
        }
        for name, handler in queries.items():
            rpc.register(name, handler, slow=True)
        for name, handler in mutations.items():
            rpc.register(name, handler, slow=True, mutation=True)

    # --- mutations --------------------------------------------------------------------------------------------------

    def set_threshold(self, params: dict[str, Any]) -> dict[str, Any]:
        """{metric, threshold, severity, mcpServer?, toolName?, enabled?, aggregation?, windowMs?, minCalls?} →
        {thresholdId, config, meaning, alsoApply: [{…, relation, meaning, words}], openAlerts: [ids], resolvedAlerts: [ids]}: the
        alerts that it covers, and those among them that the change ended.
        """
        at_ms = now_ms()
        try:
            threshold = parse_threshold({k: v for k, v in params.items() if v is not None}, at_ms)
        except BadThreshold as error:
            raise Refusal("bad_threshold", str(error), field=error.field) from error
        with self._consumer.lock:
            self._must_be_ready()
            self._state.take_edits(at_ms)
            before = covered(threshold, self._state.core.book.opened())
            try:
                self._state.perform(ThresholdSet(threshold), at_ms)
            except CannotDo as error:
                raise Refusal(error.code, str(error)) from error
            self._consumer.save_now()
            related = self._state.core.thresholds.related(threshold)
            standing = [alert.alert_id for alert in covered(threshold, self._state.core.book.opened())]
        return {
            "thresholdId": threshold.threshold_id,
            "config": threshold_view(threshold),
            "meaning": threshold_meaning(threshold),
            "alsoApply": [_related(other, threshold, relation) for other, relation in related],
            "openAlerts": standing,
            "resolvedAlerts": [alert.alert_id for alert in before if alert.alert_id not in standing],
        }

    def acknowledge(self, params: dict[str, Any]) -> dict[str, Any]:
        """{alertId, acknowledgedBy, notes?} → {alert, alreadyAcknowledged}; the first acknowledgement stays."""
        alert_id = _text(params, "alertId", 200, required=True)
        by = _text(params, "acknowledgedBy", MAX_BY_CHARS, required=True)
        notes = _text(params, "notes", MAX_NOTES_CHARS)
        with self._consumer.lock:
            self._must_be_ready()
            found = self._state.core.book.get(alert_id or "")
            if found is None:
                known = [alert.alert_id for alert in self._state.core.book.opened()]
                close = nearest(shown(alert_id or ""), known)
                hint = f"; open alerts with the nearest ids: {', '.join(close)}" if close else "; no alert is open"
                raise Refusal("unknown_alert", f"no alert has this id{hint}", nearest=close)
            already = found.acknowledgement is not None
            try:
                self._state.perform(Acknowledged(found.alert_id, by or "", notes), now_ms())
            except CannotDo as error:
                raise Refusal(error.code, str(error), alert=alert_view(found)) from error
            # A repeat too: the save of the first may have failed on a full disk.
            self._consumer.save_now()
            alert = self._state.core.book.get(found.alert_id) or found
        return {"alert": alert_view(alert), "alreadyAcknowledged": already}

    def raise_anomaly(self, params: dict[str, Any]) -> dict[str, Any]:
        """{anomaly, key?} → {outcome: "alert" | "held", reason, alertId?}; what has the same key (by default the anomaly's id) is
        decided once, and answered so again.
        """
        raw = params.get("anomaly")
        with self._consumer.lock:
            self._must_be_ready()
            key = _text(params, "key", MAX_ID_CHARS) or (raw.get("id") if isinstance(raw, dict) else None)
            known = self._state.core.anomalies.get(key) if isinstance(key, str) else None
            try:
                self._state.perform(AnomalyFound(raw, key), now_ms())
            except BadAnomaly as error:
                raise Refusal("bad_anomaly", str(error)) from error
            # A repeat too: the save of the first may have failed on a full disk.
            self._consumer.save_now()
            decided = self._state.core.anomalies[str(key)]
        raised = decided.reason in (Reason.RAISED, Reason.UPGRADED)
        answer = {
            "outcome": "alert" if raised else "held",
            "reason": decided.reason.value,
            "repeated": known is not None,
        }
        return answer | ({"alertId": decided.alert_id} if decided.alert_id else {})

    # --- queries ----------------------------------------------------------------------------------------------------

    def list_thresholds(self, _: dict[str, Any]) -> dict[str, Any]:
        """{} → {thresholds: [{…, default, meaning}], total}; users' first."""
        with self._consumer.lock:
            thresholds = list(self._state.core.thresholds)
        thresholds.sort(key=lambda t: (t.set_ms is None, t.key.metric, t.key.scope.breadth(), t.threshold_id))
        rows = [{**threshold_view(t), "default": t.set_ms is None, "meaning": threshold_meaning(t)} for t in thresholds]
        return {"thresholds": rows, "total": len(rows)}

    def list_alerts(self, params: dict[str, Any]) -> dict[str, Any]:
        """{severity?, mcpServer?, status?, limit?} → {alerts worst first, total, openTotal, summary, heldBack}. Without a
        status: the open ones. `openTotal` counts those of all servers; `summary` is about the open ones of the server asked
        for; `heldBack` lists conditions that would be alerts.
        """
        severity, status = _choice(params, "severity", Severity), _choice(params, "status", Status)
        server, limit = _text(params, "mcpServer", 1_024), _limit(params)
        core = self._state.core
        with self._consumer.lock:
            core = self._state.core
            opened, closed = core.book.opened(), core.book.closed()
            held = [held for held in core.suppression.listed.values() if _at(held.candidate.fingerprint.server, server)]
            summary = summary_view([a for a in opened if _at(a.fingerprint.server, server)], core.suppression)
        wanted = closed if status is Status.RESOLVED else opened
        found = [
            alert
            for alert in wanted
            if severity in (None, alert.severity)
            and status in (None, alert.status)
            and _at(alert.fingerprint.server, server)
        ]
        found.sort(key=worst_first)
        held.sort(key=lambda item: -item.last_ms)
        return {
            "alerts": [alert_view(alert) for alert in found[:limit]],
            "total": len(found),
            "openTotal": len(opened),
            "summary": summary,
            "heldBack": [held_view(item) for item in held[:MAX_HELD_SHOWN]],
            "heldBackTotal": len(held),
        }

    def history(self, params: dict[str, Any]) -> dict[str, Any]:
        """{startMs, endMs, mcpServer?, limit?} → {alerts, total}: every alert that was open at some time of the range, the
        newest first, archived ones among them.
        """
        start_ms, end_ms = _time(params, "startMs"), _time(params, "endMs")
        if end_ms <= start_ms:
            raise Refusal("bad_range", "endMs: later than startMs")
        server, limit = _text(params, "mcpServer", 1_024), _limit(params)
        archived = self._state.archived(start_ms, end_ms)
        with self._consumer.lock:
            alerts = [*self._state.core.book.opened(), *self._state.core.book.closed()]
        views = [alert_view(alert) for alert in alerts if _overlaps(alert, start_ms, end_ms)]
        known = {view["alertId"] for view in views}
        views += [row for row in archived if row.get("alertId") not in known]
        views = [view for view in views if _at(str(view.get("mcpServer")), server)]
        views.sort(key=lambda view: str(view.get("timestamp")), reverse=True)
        return {"alerts": views[:limit], "total": len(views)}

    def channels(self, _: dict[str, Any]) -> dict[str, Any]:
        """{} → {channels: [{channel, type, minSeverity, pending, delivered, failed, givenUp, lastError, lastErrorMs,
        lastDeliveredMs, nextTryMs}], error}: how telling people fares; no address, no secret.
        """
        with self._consumer.lock:
            return {"channels": list(self._channel_rows()), "error": self._state.channel_error}

    def windows(self, params: dict[str, Any]) -> dict[str, Any]:
        """{windowMs?} → {windowMs, windows, series: [{mcpServer, toolName, calls, errors}]}: what the alerter judges by now, of
        the five minutes unless another of `windows` is named.
        """
        window_ms = params.get("windowMs", DEFAULT_WINDOW_MS)
        with self._consumer.lock:
            evaluator = self._state.core.evaluator
            known = sorted(evaluator.windows)
            if isinstance(window_ms, bool) or window_ms not in known:
                raise Refusal("bad_request", f"windowMs: one of {', '.join(map(str, known))}", field="windowMs")
            found = evaluator.contents(window_ms)
        rows = [
            {"mcpServer": series.server, "toolName": series.tool, "calls": calls, "errors": errors}
            for series, calls, errors in found
        ]
        return {"windowMs": window_ms, "windows": known, "series": rows}

    def _channel_rows(self) -> Iterable[dict[str, Any]]:
        outbox = self._state.core.outbox
        for name, rule in outbox.rules.items():
            state = outbox.channels[name]
            yield {
                "channel": name,
                "type": self._state.channels.by_name[name].type,
                "minSeverity": rule.min_severity.value,
                "pending": outbox.waiting(name),
                "delivered": state.delivered_total,
                "failed": state.failed_total,
                "givenUp": state.given_up_total,
                "lastError": state.last_error,
                "lastErrorMs": state.last_error_ms,
                "lastDeliveredMs": state.last_delivered_ms,
                "nextTryMs": state.next_ms or None,
            }

    def _must_be_ready(self) -> None:
        # before there is a place in the journal nothing can be saved with it
        if not self._consumer.position.epoch:
            raise Refusal("starting", "the alerter is starting; try again in a second")


def _related(other: Threshold, mine: Threshold, relation: str) -> dict[str, Any]:
    view = {**threshold_view(other), "relation": relation, "default": other.set_ms is None}
    return view | {"meaning": threshold_meaning(other), "words": threshold_words(other, mine, relation)}


def _overlaps(alert: Alert, start_ms: int, end_ms: int) -> bool:
    return alert.ts_ms < end_ms and (alert.resolved_ms is None or alert.resolved_ms >= start_ms)


def _at(server: str, wanted: str | None) -> bool:
    return wanted is None or server == wanted


def _text(params: dict[str, Any], field: str, limit: int, *, required: bool = False) -> str | None:
    value = params.get(field)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not 0 < len(value.strip()) <= len(value) <= limit:
        raise Refusal("bad_request", f"{field}: 1 to {limit} characters", field=field)
    return value.encode("utf-8", "replace").decode()


def _choice(params: dict[str, Any], field: str, kind: type[_Chosen]) -> _Chosen | None:
    value = params.get(field)
    if value is None:
        return None
    accepted = [member.value for member in kind]
    if value not in accepted:
        raise Refusal("bad_request", f"{field}: one of {', '.join(accepted)}", field=field)
    return kind(value)


def _limit(params: dict[str, Any]) -> int:
    value = params.get("limit", DEFAULT_LIMIT)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_LIMIT:
        raise Refusal("bad_request", f"limit: a whole number from 1 to {MAX_LIMIT}", field="limit")
    return value


def _time(params: dict[str, Any], field: str) -> int:
    value = params.get(field)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refusal("bad_request", f"{field}: epoch milliseconds", field=field)
    try:
        iso(value)
    except (OverflowError, ValueError) as error:
        raise Refusal("bad_request", f"{field}: a year from 1 to 9999", field=field) from error
    return value
