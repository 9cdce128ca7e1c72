"""The life of alerts, told as timelines: push at t, expect at t."""

from __future__ import annotations

import pytest
from alerter_timeline import DAY, FAILURES, HOUR, T0, told

from services.alerter.core.limits import CannotDo
from services.alerter.core.model import Severity, Status, Told
from services.alerter.core.statement import judged_words, value_words


def test_a_worse_severity_upgrades_the_open_alert_and_tells_again_once(timeline):
    t = timeline()
    t.calls(0, 10, ms=600)
    t.acknowledge(10, "alert-20251031-001")
    assert told(t.calls(20, 100, ms=2000)) == [Told.UPGRADED]
    alert = t.only()
    assert (alert.severity, alert.status, alert.acknowledgement) == (Severity.CRITICAL, Status.ACTIVE, None)
    assert alert.previous_acknowledgement.by == "ada"
    assert alert.alert_id == "alert-20251031-001"
    assert told(t.calls(30, 100, ms=2000)) == []


def test_a_critical_alert_stays_critical_while_the_condition_is_a_warning(timeline):
    t = timeline()
    t.calls(0, 10, ms=2000)
    t.calls(600, 10, ms=600)
    alert = t.only()
    assert (alert.severity, alert.candidate.text) == (Severity.CRITICAL, "response_time > 1000ms")
    assert (alert.candidate.value, alert.peak_value) == (600, 2000)
    assert alert.last_true_ms == T0 + 600_000


def test_a_value_that_has_come_down_is_told_beside_what_it_was(timeline):
    t = timeline()
    t.calls(0, 41, failed=3)
    assert judged_words(t.only()) == "3 of 41 calls failed over 5 min"
    assert value_words(t.only()) == "7.32 %, threshold 5 %"
    t.calls(20, 70)
    alert = t.only()
    assert (alert.severity, alert.candidate.text) == (Severity.CRITICAL, "error_rate > 5%")
    assert value_words(alert) == "was 7.32 %, now 2.7 %, threshold 5 %"
    assert judged_words(alert) == "was 7.32 %, now 2.7 %, threshold 5 %; 3 of 111 calls failed over 5 min"


def test_what_made_an_alert_worse_than_its_threshold_says_stays_told(timeline):
    t = timeline()
    t.anomaly(0, id="errors", **FAILURES)
    t.calls(1, 30, failed=2)
    for second in (2, 3):
        t.calls(second, 1)
        alert = t.only()
        assert (alert.severity, alert.candidate.text) == (Severity.CRITICAL, "error_rate > 1%")
        assert judged_words(alert).endswith("calls failed over 5 min; critical by an anomaly")
    t.calls(4, 10, failed=10)
    assert t.only().worse_by == ""


def test_a_condition_that_stays_true_is_one_alert(timeline):
    t = timeline()
    for second in range(0, 600, 20):
        t.calls(second, 5, failed=5)
    assert [entry for entry, _ in t.told] == ["raised"]
    assert t.core.suppression.totals() == {"deduplicated": 1}
    t.calls(3600, 5, failed=5)
    assert t.core.suppression.totals() == {"deduplicated": 2}


def test_an_alert_nobody_acknowledges_escalates_after_an_hour_once(timeline):
    t = timeline()
    t.calls(0, 5, failed=5)
    assert told(t.tick(HOUR - 1)) == []
    assert told(t.tick(HOUR)) == [Told.ESCALATED]
    assert told(t.tick(HOUR + 60)) == []
    assert t.only().status is Status.ESCALATED


def test_an_acknowledged_alert_neither_escalates_nor_tells(timeline):
    t = timeline()
    t.calls(0, 5, failed=5)
    assert t.waiting("chat") == ["raised"]
    t.acknowledge(60, "alert-20251031-001", notes="on it")
    assert t.waiting("chat") == t.waiting("mail") == []
    assert told(t.tick(2 * HOUR)) == []
    t.calls(2 * HOUR, 5, failed=5)
    assert t.waiting("chat") == []
    assert t.only().status is Status.ACKNOWLEDGED


def test_an_escalated_alert_can_be_acknowledged(timeline):
    t = timeline()
    t.calls(0, 5, failed=5)
    t.tick(HOUR)
    t.acknowledge(HOUR + 1, "alert-20251031-001")
    assert t.only().status is Status.ACKNOWLEDGED


def test_an_upgraded_alert_can_escalate_again(timeline):
    t = timeline()
    t.calls(0, 10, ms=600)
    t.tick(HOUR)
    t.calls(HOUR + 1, 10, ms=2000)
    assert told(t.tick(2 * HOUR)) == []
    assert told(t.tick(2 * HOUR + 1)) == [Told.ESCALATED]
    assert t.waiting("mail") == ["upgraded", "escalated"]


def test_acknowledging_twice_keeps_the_first(timeline):
    t = timeline()
    t.calls(0, 5, failed=5)
    t.acknowledge(10, "alert-20251031-001", "ada", "looking")
    assert t.acknowledge(20, "alert-20251031-001", "bob", "me too") == []
    taken = t.only().acknowledgement
    assert (taken.by, taken.notes, taken.at_ms) == ("ada", "looking", T0 + 10_000)


def test_acknowledging_what_is_unknown_or_resolved_is_refused(timeline):
    t = timeline()
    with pytest.raises(CannotDo, match="no alert"):
        t.acknowledge(0, "alert-20251031-001")
    t.calls(0, 5, failed=5)
    t.tick(DAY + 1)
    with pytest.raises(CannotDo, match="resolved"):
        t.acknowledge(DAY + 2, "alert-20251031-001")


def test_an_alert_resolves_when_its_condition_stayed_clear_for_a_day(timeline):
    t = timeline()
    t.calls(0, 5, failed=5)
    t.acknowledge(1, "alert-20251031-001")
    t.calls(600, 5, failed=5)
    assert told(t.tick(DAY + 599)) == []
    assert told(t.tick(DAY + 600)) == [Told.RESOLVED]
    (alert,) = t.core.book.closed()
    assert (alert.status, alert.resolved_ms, alert.last_true_ms) == (
        Status.RESOLVED,
        T0 + int(DAY + 600) * 1000,
        T0 + 600_000,
    )
    assert t.waiting("chat") == ["resolved"]


def test_the_resolve_time_can_be_set(timeline):
    t = timeline(resolve_after_ms=60_000)
    t.calls(0, 5, failed=5)
    assert told(t.tick(60)) == [Told.RESOLVED]


def test_after_it_resolves_there_is_none_for_an_hour_but_a_worse_one(timeline):
    t = timeline(resolve_after_ms=60_000)
    t.calls(0, 10, ms=600)
    t.tick(60)
    t.calls(70, 10, ms=600)
    assert t.opened() == []
    assert t.core.suppression.totals()["recently_resolved"] == 1
    assert told(t.calls(80, 40, ms=2000)) == [Told.RAISED]
    assert t.only().alert_id == "alert-20251031-002"


def test_the_same_condition_is_a_new_alert_an_hour_after_it_resolved(timeline):
    t = timeline(resolve_after_ms=60_000)
    t.calls(0, 10, ms=600)
    t.tick(60)
    t.calls(60 + HOUR - 1, 10, ms=600)
    assert t.opened() == []
    t.calls(60 + HOUR, 10, ms=600)
    assert t.only().alert_id == "alert-20251031-002"


def test_at_most_five_new_alerts_a_server_an_hour_and_what_is_held_back_is_listed(timeline):
    t = timeline()
    for tool in range(8):
        t.calls(tool, 10, tool=f"t{tool}", ms=600)
    assert len(t.opened()) == 5
    assert t.core.suppression.totals() == {"rate_limited": 3}
    assert [held.candidate.fingerprint.tool for held in t.core.suppression.listed.values()] == ["t5", "t6", "t7"]
    t.calls(8, 10, server="another", ms=600)
    assert len(t.opened()) == 6


def test_a_condition_held_back_by_the_rate_limit_is_raised_when_the_hour_is_over_and_it_is_still_true(timeline):
    t = timeline()
    for tool in range(6):
        t.calls(tool, 10, tool=f"t{tool}", ms=600)
    t.calls(HOUR - 1, 10, tool="t5", ms=600)
    assert len(t.opened()) == 5
    t.calls(HOUR, 10, tool="t5", ms=600)
    assert len(t.opened()) == 6
    assert not t.core.suppression.listed


def test_critical_breaks_through_while_the_five_were_not_all_critical(timeline):
    t = timeline()
    for tool in range(5):
        t.calls(tool, 10, tool=f"warning{tool}", ms=600)
    for tool in range(7):
        t.calls(10 + tool, 10, tool=f"critical{tool}", ms=2000)
    severities = [alert.severity for alert in t.opened()]
    assert (severities.count(Severity.WARNING), severities.count(Severity.CRITICAL)) == (5, 5)


def test_the_worst_are_raised_first_when_many_come_at_once(timeline):
    t = timeline()
    from services.alerter.core.events import BatchCommitted
    from shared.batch import build

    rows = [("s", f"w{i}", T0, 600.0, True) for i in range(5) for _ in range(5)]
    rows += [("s", f"c{i}", T0, 2000.0, True) for i in range(5) for _ in range(5)]
    t.step(BatchCommitted(build(rows), T0, live=True), T0)
    assert {alert.severity for alert in t.opened()} == {Severity.CRITICAL}
    assert len(t.opened()) == 5


def test_ids_count_within_the_utc_day_of_creation(timeline):
    t = timeline()
    t.calls(11 * HOUR - 1, 10, tool="a", ms=600)
    t.calls(11 * HOUR - 1, 10, tool="b", ms=600)
    t.calls(11 * HOUR, 10, tool="c", ms=600)
    assert [a.alert_id for a in t.opened()] == ["alert-20251031-001", "alert-20251031-002", "alert-20251101-001"]


def test_resolved_alerts_stay_readable_for_thirty_days_and_ids_are_not_reused(timeline):
    t = timeline(resolve_after_ms=60_000)
    t.calls(0, 10, ms=600)
    t.tick(60)
    t.tick(29 * DAY)
    assert len(t.core.book.closed()) == 1
    t.tick(31 * DAY)
    assert len(t.core.book) == 0
    t.calls(10, 10, ms=600, now_s=20)
    assert t.only().alert_id == "alert-20251031-002"


def test_a_warning_is_told_to_the_chat_and_a_critical_alert_to_the_mail_too(timeline):
    t = timeline()
    t.calls(0, 10, ms=600)
    assert (t.waiting("chat"), t.waiting("mail")) == (["raised"], [])
    t.calls(1, 100, ms=2000)
    assert (t.waiting("chat"), t.waiting("mail")) == (["raised", "upgraded"], ["upgraded"])
