"""The alerter's state machine: events in, actions out, and the only door through which its state changes.

Owns the order of the decisions: is it enough, is it current (`evaluate`), is it new (`dedup`), may it (`rate_limit`), what
becomes of it (`lifecycle`), who is told (`outbox`), what was held back (`suppression`). Knows no clock and no file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from services.alerter.core import lifecycle, rejudge
from services.alerter.core.anomalies import ANOMALY_MEMORY_MS, ANOMALY_STALE_MS, parse_anomaly
from services.alerter.core.book import AlertBook
from services.alerter.core.dedup import dedup
from services.alerter.core.evaluate import Breach, Evaluator, windows_needed
from services.alerter.core.events import (
    Acknowledged,
    Action,
    Announce,
    AnomalyFound,
    Archive,
    BatchCommitted,
    CaughtUp,
    Event,
    MessageDelivered,
    MessageFailed,
    SaveSoon,
    ThresholdSet,
    ThresholdsReplaced,
    Tick,
    WriteAlerts,
    WriteThresholds,
)
from services.alerter.core.ids import AlertIds
from services.alerter.core.limits import CannotDo, Limits, check_room
from services.alerter.core.model import (
    Alert,
    AnomalyOutcome,
    Candidate,
    Decision,
    Fingerprint,
    Reason,
    Severity,
    Status,
    Told,
)
from services.alerter.core.outbox import Outbox
from services.alerter.core.rate_limit import RATE_SPAN_MS, RateLimit
from services.alerter.core.suppression import Suppression
from services.alerter.core.thresholds import Threshold, Thresholds
from services.alerter.core.waiting import WAITS_MS, Waiting, WaitingAnomalies
from shared.names import ALL_TOOLS

#: How often series without a call are let go.
RELEASE_EVERY_MS: Final = 60_000
#: No metric is further ahead of our clock when it comes.
AHEAD_MS: Final = 15 * 60_000
#: Anomaly ids that are remembered at the most; the oldest go first.
MAX_ANOMALIES: Final = 100_000


class Core:
    """All state of the alerter.

    decided_total: every decision by its reason since the start. released_ms: when what is old was last forgotten.
    """

    def __init__(self, limits: Limits, thresholds: Iterable[Threshold] = ()) -> None:
        self.limits = limits
        self.thresholds = Thresholds(thresholds)
        self.evaluator = Evaluator(self.thresholds)
        self.book = AlertBook()
        self.ids = AlertIds()
        self.rate = RateLimit(limits.alerts_per_hour)
        self.suppression = Suppression()
        self.waiting = WaitingAnomalies()
        self.outbox = Outbox()
        self.anomalies: dict[str, AnomalyOutcome] = {}
        self.anomalies_changed: set[str] = set()
        self.decided_total: dict[str, int] = {}
        self.released_ms = 0

    def handle(self, event: Event, now_ms: int) -> list[Action]:
        """Let something happen; what is to be done about it.

        Raises: CannotDo, anomalies.BadAnomaly; nothing has changed then.
        """
        match event:
            case BatchCommitted():
                return self._batch(event, now_ms)
            case CaughtUp():
                return self._decide_all(self.evaluator.judge_windows(now_ms), now_ms)
            case Tick():
                return self._tick(now_ms)
            case ThresholdSet():
                return self._set_threshold(event.threshold, now_ms)
            case ThresholdsReplaced():
                return self._replace_thresholds(event.thresholds, now_ms)
            case Acknowledged():
                return self._acknowledge(event, now_ms)
            case AnomalyFound():
                return self._anomaly(event, now_ms)
            case MessageDelivered():
                self.outbox.delivered(event.key, now_ms)
                return [SaveSoon()]
            case MessageFailed():
                self.outbox.failed(event.key, event.error, now_ms)
                return [SaveSoon()]

    def validate(self) -> None:
        """Raises AssertionError when the state contradicts itself; for tests and after loading."""
        opened = self.book.opened()
        assert len({alert.fingerprint for alert in opened}) == len(opened), "two open alerts of one condition"
        for alert in [*opened, *self.book.closed()]:
            assert alert.is_open == (alert.resolved_ms is None), alert.alert_id
            assert (alert.status is Status.ACKNOWLEDGED) == (alert.is_open and alert.acknowledgement is not None)
        assert set(self.evaluator.windows) == set(windows_needed(self.thresholds)), "windows do not fit the thresholds"

    # --- metrics ----------------------------------------------------------------------------------------------------

    def _batch(self, event: BatchCommitted, now_ms: int) -> list[Action]:
        rows = self.evaluator.fold(event.batch, event.committed_ms)
        actions = self._decide_all(self.evaluator.judge_calls(rows, now_ms), now_ms)
        if event.live:
            actions += self._decide_all(self.evaluator.judge_windows(now_ms), now_ms)
        return actions

    def _decide_all(self, breaches: Iterable[Breach], now_ms: int) -> list[Action]:
        """Decide the worst breach of each condition that can be an alert; count the others."""
        worst: dict[Fingerprint, Breach] = {}
        for breach in breaches:
            known = worst.get(breach.candidate.fingerprint)
            if known is None or _matters_more(breach, known):
                worst[breach.candidate.fingerprint] = breach
        actions: list[Action] = []
        for breach in sorted(worst.values(), key=_order):
            self._decide_breach(breach, now_ms, actions)
        return actions

    def _decide_breach(self, breach: Breach, now_ms: int, actions: list[Action]) -> None:
        candidate = breach.candidate
        if breach.held in (None, Reason.STALE):
            self._decide(candidate, now_ms, actions, stale=breach.held is Reason.STALE)
        else:
            self._hold(candidate, breach.held or Reason.STALE, now_ms)

    def _decide(self, candidate: Candidate, now_ms: int, actions: list[Action], *, stale: bool) -> Decision:
        opened = self.book.open_for(candidate.fingerprint)
        whole = None if opened else self._of_whole_server(candidate)
        if whole is not None:
            self.book.put(lifecycle.covering(whole, candidate))
            self._hold(candidate, Reason.SAME_CAUSE, now_ms)
            actions.append(WriteAlerts())
            return Decision(Reason.SAME_CAUSE, whole)
        resolved = self.book.resolved_for(candidate.fingerprint)
        reason = dedup(candidate, opened, resolved, self.limits.quiet_ms, stale=stale)
        if reason is Reason.UPGRADED and opened is not None:
            alert = lifecycle.upgraded(opened, candidate, now_ms)
            return self._announce(alert, Told.UPGRADED, Decision(reason, alert), now_ms, actions)
        if reason is Reason.DEDUPLICATED and opened is not None:
            self.book.put(lifecycle.true_again(opened, candidate))
            self._hold(candidate, reason, now_ms)
            return Decision(reason, opened)
        if reason is Reason.SAME_CAUSE and opened is not None:
            self.book.put(lifecycle.joined(opened, candidate))
            self._hold(candidate, reason, now_ms)
            actions.append(WriteAlerts())
            return Decision(reason, opened)
        late = reason is Reason.STALE and candidate.anomaly_id is not None
        if late and opened is not None and candidate.ts_ms >= opened.ts_ms:
            self.book.put(lifecycle.naming(opened, candidate.anomaly_id or ""))
            self._hold(candidate, reason, now_ms)
            actions.append(WriteAlerts())
            return Decision(reason, opened)
        if reason is Reason.RAISED:
            reason = self._raise_reason(candidate, now_ms)
        if reason is not Reason.RAISED:
            self._hold(candidate, reason, now_ms)
            return Decision(reason, resolved if reason is Reason.RECENTLY_RESOLVED else None)
        self.rate.count(candidate.fingerprint.server, candidate.severity, candidate.ts_ms)
        alert = self._naming_what_waited(lifecycle.raised(self.ids.next(now_ms), candidate, now_ms))
        return self._announce(alert, Told.RAISED, Decision(reason, alert), now_ms, actions)

    def _naming_what_waited(self, alert: Alert) -> Alert:
        for one in self.waiting.take(alert.fingerprint, alert.ts_ms):
            alert = lifecycle.naming(alert, one.anomaly_id)
            if one.key in self.anomalies:
                self.anomalies[one.key] = replace(self.anomalies[one.key], alert_id=alert.alert_id)
                self.anomalies_changed.add(one.key)
        return alert

    def _of_whole_server(self, candidate: Candidate) -> Alert | None:
        """The alert about all tools of a server that says what the anomaly of one of them does, at least as severely."""
        if candidate.anomaly_id is None:
            return None
        alert = self.book.open_for(candidate.fingerprint._replace(tool=ALL_TOOLS))
        return None if alert is None or candidate.severity.worse_than(alert.severity) else alert

    def _raise_reason(self, candidate: Candidate, now_ms: int) -> Reason:
        self.rate.forget_after(now_ms + AHEAD_MS)
        allowed = self.rate.allows(candidate.fingerprint.server, candidate.severity, candidate.ts_ms)
        return Reason.RAISED if allowed else Reason.RATE_LIMITED

    def _announce(self, alert: Alert, told: Told, decision: Decision, now_ms: int, actions: list[Action]) -> Decision:
        self._count(decision.reason)
        self.suppression.became_alert(alert.fingerprint)
        self._change(alert, told, now_ms, actions)
        return decision

    def _change(self, alert: Alert, told: Told, now_ms: int, actions: list[Action]) -> None:
        self.book.put(alert)
        self.outbox.tell(alert, told, now_ms)
        actions.append(Announce(alert, told))

    def _hold(self, candidate: Candidate, reason: Reason, now_ms: int) -> None:
        self._count(reason)
        self.suppression.hold(candidate, reason, now_ms)

    def _count(self, reason: Reason) -> None:
        self.decided_total[reason.value] = self.decided_total.get(reason.value, 0) + 1

    # --- commands ---------------------------------------------------------------------------------------------------

    def _set_threshold(self, threshold: Threshold, now_ms: int) -> list[Action]:
        check_room([*(t for t in self.thresholds if t.key != threshold.key), threshold])
        behind = rejudge.rules_behind(self.book.opened(), self.thresholds)
        self.thresholds.set(threshold)
        return self._thresholds_changed(behind, now_ms)

    def _replace_thresholds(self, chosen: tuple[Threshold, ...], now_ms: int) -> list[Action]:
        check_room(list(Thresholds(chosen)))
        behind = rejudge.rules_behind(self.book.opened(), self.thresholds)
        self.thresholds.replace(chosen)
        return self._thresholds_changed(behind, now_ms)

    def _thresholds_changed(self, behind: dict[str, Threshold], now_ms: int) -> list[Action]:
        """Judge by the thresholds that now hold every open alert whose own is another one than before."""
        self.evaluator.replan()
        actions: list[Action] = [WriteThresholds()]
        for alert in rejudge.judged_anew(self.book.opened(), behind, self.thresholds, now_ms):
            if alert.is_open:
                self.book.put(alert)
                actions.append(WriteAlerts())
            else:
                self._count(Reason.THRESHOLD_CHANGED)
                self._resolve(alert, now_ms, actions)
        return actions

    def _resolve(self, over: Alert, now_ms: int, actions: list[Action]) -> None:
        self.outbox.hush(over.alert_id)
        self._change(over, Told.RESOLVED, now_ms, actions)
        actions.append(Archive(over))

    def _acknowledge(self, event: Acknowledged, now_ms: int) -> list[Action]:
        alert = self.book.get(event.alert_id)
        if alert is None:
            raise CannotDo("unknown_alert", "no alert has this id")
        if not alert.is_open:
            raise CannotDo("already_resolved", "this alert is resolved; there is nothing to acknowledge")
        if alert.acknowledgement is not None:
            return []
        self.book.put(lifecycle.acknowledged(alert, event.by, event.notes, now_ms))
        self.outbox.hush(alert.alert_id)
        return [WriteAlerts()]

    def _anomaly(self, event: AnomalyFound, now_ms: int) -> list[Action]:
        anomaly = parse_anomaly(event.raw)
        key = event.key or anomaly.anomaly_id
        if key in self.anomalies:
            self._count(Reason.ALREADY_SEEN)
            return []
        actions: list[Action] = []
        decision = Decision(Reason.BELOW_WARNING)
        if anomaly.candidate is None:
            self._count(decision.reason)
        else:
            candidate = replace(anomaly.candidate, ts_ms=min(anomaly.candidate.ts_ms, now_ms))
            stale = now_ms - candidate.ts_ms > ANOMALY_STALE_MS
            decision = self._decide(candidate, now_ms, actions, stale=stale)
            if decision.alert is None or not decision.alert.is_open:
                self.waiting.add(Waiting(key, anomaly.anomaly_id, candidate.fingerprint, candidate.ts_ms))
        alert_id = decision.alert.alert_id if decision.alert else None
        self.anomalies[key] = AnomalyOutcome(decision.reason, alert_id, now_ms)
        self.anomalies_changed.add(key)
        return [*actions, SaveSoon()]

    # --- the clock --------------------------------------------------------------------------------------------------

    def _tick(self, now_ms: int) -> list[Action]:
        actions: list[Action] = self._decide_all(self.evaluator.judge_windows(now_ms), now_ms)
        for alert in self.book.opened():
            if lifecycle.resolution_due(alert, self.limits.resolve_after_ms, now_ms):
                self._resolve(lifecycle.resolved(alert, now_ms), now_ms, actions)
            elif lifecycle.escalation_due(alert, self.limits.escalate_after_ms, now_ms):
                self._change(lifecycle.escalated(alert, now_ms), Told.ESCALATED, now_ms, actions)
        if self.outbox.tick(now_ms):
            actions.append(SaveSoon())
        if abs(now_ms - self.released_ms) >= RELEASE_EVERY_MS:
            self.released_ms = now_ms
            self._forget_old(now_ms, actions)
        return actions

    def _forget_old(self, now_ms: int, actions: list[Action]) -> None:
        self.evaluator.release_idle()
        self.suppression.tick(now_ms)
        self.rate.forget_before(now_ms - 2 * RATE_SPAN_MS)
        self.waiting.forget_before(now_ms - WAITS_MS)
        for alert in self.book.closed():
            if now_ms - (alert.resolved_ms or 0) >= self.limits.archive_after_ms:
                self.book.forget(alert.alert_id)
                actions.append(SaveSoon())
        oldest = now_ms - ANOMALY_MEMORY_MS
        surplus = len(self.anomalies) - MAX_ANOMALIES
        for place, (anomaly_id, outcome) in enumerate(list(self.anomalies.items())):
            if outcome.at_ms < oldest or place < surplus:
                del self.anomalies[anomaly_id]
                self.anomalies_changed.add(anomaly_id)


def _matters_more(breach: Breach, known: Breach) -> bool:
    """A breach that can be an alert before one that is held back, then the worse one, then the newer."""
    if (breach.held is None) != (known.held is None):
        return breach.held is None
    if breach.candidate.severity is not known.candidate.severity:
        return breach.candidate.severity.worse_than(known.candidate.severity)
    return breach.candidate.ts_ms > known.candidate.ts_ms


def _order(breach: Breach) -> tuple[bool, int, Fingerprint]:
    """Critical ones first, so that a full hour is full of what matters; then by time."""
    return breach.candidate.severity is not Severity.CRITICAL, breach.candidate.ts_ms, breach.candidate.fingerprint
