"""The shell: database, views and archive in their order, across crashes at every place."""

from __future__ import annotations

import json
import sqlite3
import stat
from pathlib import Path

import pytest
from alerter_timeline import T0, anomaly

from perfmon.paths import DataDirectory
from services.alerter.core.events import Acknowledged, AnomalyFound, ThresholdSet
from services.alerter.core.limits import CannotDo
from services.alerter.core.threshold_input import parse_threshold
from services.alerter.shell import state as state_module
from services.alerter.shell.notifier import Notifier
from services.alerter.shell.state import AlerterState
from shared.batch import build
from shared.consumer import Entry, Position
from shared.settings import Settings
from tests.kit import store_snapshot

TOML = """
[communications]
command = "unused"
[[channel]]
type = "google_chat"
webhook_url = "https://chat.example/secret"
"""
SEED_KEYS = [
    "alertId",
    "timestamp",
    "mcpServer",
    "toolName",
    "severity",
    "condition",
    "currentValue",
    "threshold",
    "status",
    "acknowledgedBy",
    "notes",
]


class Pipeline:
    """Drives a state as the consumer does: apply, save when asked to, saved."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: float) -> None:
        self.data = DataDirectory(folder / "data")
        self.data.create()
        self.config = folder / "config"
        self.config.mkdir(mode=0o700, exist_ok=True)
        self.settings = Settings(**settings)
        self.now_ms = T0
        self.sent: list[str] = []
        self.broken: set[str] = set()
        self.seq = 0
        monkeypatch.setattr(state_module, "_now_ms", lambda: self.now_ms)
        self.start()

    def start(self) -> None:
        """A new process."""
        self.state = AlerterState(self.data, self.settings, self.config, lambda c: Notifier(c, self._send))
        found = self.state.load()
        self.seq = found.seq if found else self.seq

    def calls(self, n: int = 10, *, failed: int = 10, tool: str = "t", at_ms: int | None = None) -> bool:
        ts = self.now_ms if at_ms is None else at_ms
        batch = build([("s", tool, ts, 10.0, i >= failed) for i in range(n)])
        urgent = self.state.apply(Entry("e", self.seq + 1, self.now_ms, batch), self.now_ms, True)
        self.seq += 1
        if urgent:
            self.save()
        return urgent

    def save(self) -> None:
        self.state.save(Position("e", self.seq))
        self.state.saved(self.now_ms)

    def tick(self, at_ms: int) -> None:
        self.now_ms = at_ms
        if self.state.tick(at_ms):
            self.save()

    def do(self, event) -> None:
        self.state.perform(event, self.now_ms)
        self.save()

    def settle(self) -> None:
        """Until every channel has come back (bounded by the test's time-out)."""
        notifier = self.state._notifier
        while notifier.busy:
            if self.state._take_results(self.now_ms):
                self.save()

    def active(self) -> dict:
        return json.loads((self.data.alerts / "active-alerts.json").read_text())

    def history(self) -> dict[str, list[dict]]:
        folder = self.data.alerts / "history"
        return {
            path.stem: [json.loads(line) for line in path.read_text().splitlines()]
            for path in sorted(folder.glob("*.jsonl"))
        }

    def _send(self, calls):
        for key, call in calls:
            if call.tool in self.broken:
                yield key, f"Error: {json.dumps(call.arguments)}"
            else:
                self.sent.append(key)
                yield key, None


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    (tmp_path / "data" / "alerts" / "history").mkdir(parents=True)
    return Pipeline(tmp_path, monkeypatch)


@pytest.fixture
def told(tmp_path, monkeypatch):
    """A pipeline with one chat channel."""
    (tmp_path / "config").mkdir(mode=0o700)
    path = tmp_path / "config" / "notifications.toml"
    path.write_text(TOML)
    path.chmod(0o600)
    return Pipeline(tmp_path, monkeypatch)


def test_active_alerts_json_is_the_seeds_object_plus_fields(pipeline):
    assert pipeline.calls() is True
    body = pipeline.active()
    (alert,) = body["alerts"]
    assert list(body) == ["lastUpdated", "alerts"]
    assert list(alert)[: len(SEED_KEYS)] == SEED_KEYS
    assert {key: alert[key] for key in SEED_KEYS} == {
        "alertId": "alert-20251031-001",
        "timestamp": "2025-10-31T13:00:00.000Z",
        "mcpServer": "s",
        "toolName": "t",
        "severity": "critical",
        "condition": "error_rate > 5%",
        "currentValue": 100.0,
        "threshold": 5.0,
        "status": "active",
        "acknowledgedBy": None,
        "notes": None,
    }
    mode = (pipeline.data.alerts / "active-alerts.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_healthy_calls_ask_for_no_save_of_their_own(pipeline):
    assert pipeline.calls(failed=0) is False


def test_a_restart_knows_the_alert_the_place_and_the_windows(pipeline):
    pipeline.calls(4, failed=4)
    pipeline.save()
    pipeline.start()
    assert pipeline.state.load() == Position("e", 1)
    assert pipeline.calls(1, failed=1) is True
    pipeline.start()
    (alert,) = pipeline.state.core.book.opened()
    assert alert.candidate.failures == 5
    assert pipeline.calls() is False


def test_a_crash_between_database_and_view_shows_the_alert_after_the_restart(pipeline):
    pipeline.calls(4, failed=4)
    batch = build([("s", "t", T0, 1.0, False)])
    assert pipeline.state.apply(Entry("e", 2, T0, batch), T0, True)
    pipeline.state.save(Position("e", 2))
    pipeline.start()
    pipeline.tick(T0 + 1000)
    assert len(pipeline.active()["alerts"]) == 1


def test_an_alert_that_was_not_saved_is_raised_again_under_the_same_id_by_the_replay(pipeline):
    pipeline.save()
    batch = build([("s", "t", T0, 1.0, False)] * 10)
    entry = Entry("e", 1, T0, batch)
    assert pipeline.state.apply(entry, T0, True)
    pipeline.start()
    assert pipeline.state.core.book.opened() == []
    assert not pipeline.state.apply(entry, T0 + 1000, False)
    pipeline.state.caught_up(T0 + 1000)
    assert [alert.alert_id for alert in pipeline.state.core.book.opened()] == ["alert-20251031-001"]


def test_a_resolved_alert_is_archived_once_in_the_file_of_its_day(pipeline):
    pipeline.calls()
    day = 24 * 3_600_000
    midnight = T0 - T0 % day + 2 * day
    pipeline.calls(at_ms=midnight - day - 1)
    pipeline.now_ms = midnight - day - 1
    pipeline.calls()
    pipeline.tick(midnight - 1)
    assert list(pipeline.history()) == ["2025-11-01"]
    assert pipeline.active()["alerts"] == []
    (row,) = pipeline.history()["2025-11-01"]
    assert (row["status"], row["resolvedAt"]) == ("resolved", "2025-11-01T23:59:59.999Z")
    assert pipeline.state.archived(T0, T0 + 10 * day) == []  # still in the core, and told from there


def test_a_crash_after_the_archive_line_and_before_its_note_archives_no_second_line(pipeline):
    pipeline.calls()
    at = T0 + 25 * 3_600_000
    pipeline.now_ms = at
    assert pipeline.state.tick(at)
    pipeline.state.save(Position("e", pipeline.seq))
    pipeline.state.saved(at)  # the line is written; that it was is not saved yet
    pipeline.start()
    pipeline.save()
    assert [len(rows) for rows in pipeline.history().values()] == [1]


def test_after_thirty_days_a_resolved_alert_is_read_from_the_archive(pipeline):
    pipeline.calls()
    hour = 3_600_000
    pipeline.tick(T0 + 25 * hour)
    pipeline.tick(T0 + 32 * 24 * hour)
    assert len(pipeline.state.core.book) == 0
    (row,) = pipeline.state.archived(T0 - hour, T0 + hour)
    assert row["alertId"] == "alert-20251031-001"
    assert pipeline.state.archived(T0 + 26 * hour, T0 + 48 * hour) == []


def test_thirty_acknowledgements_all_succeed_and_the_first_stays(pipeline):
    pipeline.calls()
    for number in range(30):
        pipeline.do(Acknowledged("alert-20251031-001", f"person {number}", None))
    pipeline.start()
    (alert,) = pipeline.state.core.book.opened()
    assert alert.acknowledgement.by == "person 0"
    assert pipeline.active()["alerts"][0]["acknowledgedBy"] == "person 0"


def test_thresholds_survive_and_an_edited_file_is_taken_over_while_running(pipeline):
    given = {"metric": "response_time", "threshold": 5, "severity": "critical"}
    pipeline.do(ThresholdSet(parse_threshold(given, T0)))
    path = pipeline.data.config / "thresholds.json"
    body = json.loads(path.read_text())
    assert [t["threshold"] for t in body["thresholds"]] == [5]
    pipeline.start()
    assert [t.value for t in pipeline.state.core.thresholds.chosen()] == [5]
    body["thresholds"][0]["threshold"] = 6
    path.write_text(json.dumps(body))
    pipeline.tick(T0 + 1000)
    pipeline.start()
    assert [t.value for t in pipeline.state.core.thresholds.chosen()] == [6]
    path.write_text("{}")
    pipeline.tick(T0 + 2000)
    assert [t.value for t in pipeline.state.core.thresholds.chosen()] == [6]
    assert json.loads(path.read_text())["thresholds"][0]["threshold"] == 6
    assert path.with_name("thresholds.json.unusable-1").exists()
    path.unlink()
    pipeline.tick(T0 + 3000)
    assert json.loads(path.read_text())["thresholds"][0]["threshold"] == 6


def test_a_file_with_too_many_windows_is_refused_as_a_whole(pipeline):
    pipeline.tick(T0 + 1000)
    path = pipeline.data.config / "thresholds.json"
    rows = [
        {"metric": "cpu", "threshold": 1, "severity": "warning", "mcpServer": f"s{n}", "windowMs": 60_000 + n}
        for n in range(9)
    ]
    path.write_text(json.dumps({"thresholds": rows}))
    pipeline.tick(T0 + 2000)
    assert pipeline.state.core.thresholds.chosen() == []
    assert json.loads(path.read_text())["thresholds"] == []


def test_the_ninth_window_is_refused_and_changes_nothing(pipeline):
    for n in range(7):
        raw = {"metric": "cpu", "threshold": 1, "severity": "warning", "mcpServer": f"s{n}", "windowMs": 60_000 + n}
        pipeline.do(ThresholdSet(parse_threshold(raw, T0)))
    with pytest.raises(CannotDo, match="windows"):
        pipeline.do(ThresholdSet(parse_threshold(raw | {"mcpServer": "x", "windowMs": 70_000}, T0)))
    assert len(pipeline.state.core.thresholds.chosen()) == 7


def test_an_anomaly_is_remembered_across_restarts(pipeline):
    pipeline.do(AnomalyFound(anomaly(T0)))
    pipeline.start()
    pipeline.do(AnomalyFound(anomaly(T0)))
    assert len(pipeline.state.core.book.opened()) == 1
    assert pipeline.state.core.decided_total == {"already_seen": 1}


def test_an_anomaly_that_became_worse_comes_under_a_key_of_its_own_and_is_named_once(pipeline):
    worse = anomaly(T0) | {"severity": "critical"}
    pipeline.do(AnomalyFound(anomaly(T0), "anomaly-1"))
    for _ in range(2):
        pipeline.do(AnomalyFound(worse, "anomaly-1-critical"))
        pipeline.start()
    (alert,) = pipeline.state.core.book.opened()
    assert (alert.severity.value, alert.anomaly_ids) == ("critical", ("anomaly-1",))
    assert set(pipeline.state.core.anomalies) == {"anomaly-1", "anomaly-1-critical"}


def test_people_are_told_after_the_alert_is_on_disk_and_once(told):
    batch = build([("s", "t", T0, 1.0, False)] * 10)
    assert told.state.apply(Entry("e", 1, T0, batch), T0, True)
    told.state._show(T0)
    assert told.sent == []
    told.save()
    told.settle()
    assert told.sent == ["alert-20251031-001/raised/critical/google_chat"]
    told.start()
    told.save()
    told.settle()
    assert len(told.sent) == 1


def test_what_was_not_told_before_a_crash_is_told_after_it(told):
    told.broken = {"send_google_chat_webhook"}
    told.calls()
    told.settle()
    error = told.state.core.outbox.channels["google_chat"].last_error
    assert "secret" not in error
    told.broken = set()
    told.start()
    told.save()
    told.settle()
    assert len(told.sent) == 1
    assert told.state.core.outbox.channels["google_chat"].failed_total == 1


def test_a_dead_channel_delays_no_alert_and_no_save(told):
    def never(calls):
        raise OSError("no such server")

    told.state._notifier._send = never
    assert told.calls() is True
    assert len(told.active()["alerts"]) == 1
    told.settle()
    assert told.state.core.outbox.waiting("google_chat") == 1


def test_refused_channels_are_reported_and_alerts_go_on(tmp_path, monkeypatch):
    (tmp_path / "config").mkdir(mode=0o700)
    path = tmp_path / "config" / "notifications.toml"
    path.write_text(TOML)
    path.chmod(0o666)
    pipeline = Pipeline(tmp_path, monkeypatch)
    assert "chmod" in pipeline.state.channel_error
    pipeline.calls()
    assert len(pipeline.active()["alerts"]) == 1


def test_what_waits_survives_a_file_that_is_refused_for_a_while(told):
    told.broken = {"send_google_chat_webhook"}
    told.calls()
    told.settle()
    path = told.config / "notifications.toml"
    path.chmod(0o666)
    told.broken = set()
    told.start()
    told.save()
    assert told.sent == []
    path.chmod(0o600)
    told.tick(T0 + 1000)
    told.settle()
    assert told.state.channel_error is None
    assert len(told.sent) == 1


def test_a_channel_that_is_added_while_running_is_told_from_then_on(pipeline):
    pipeline.calls()
    path = pipeline.config / "notifications.toml"
    path.write_text(TOML)
    path.chmod(0o600)
    pipeline.tick(T0 + 1000)
    pipeline.calls(tool="second")
    pipeline.settle()
    assert pipeline.sent == ["alert-20251031-002/raised/critical/google_chat"]


def test_channels_in_the_data_directory_are_never_read(pipeline):
    (pipeline.data.config / "notifications.toml").write_text(TOML)
    pipeline.start()
    assert pipeline.state.channels.by_name == {}


def test_a_view_that_cannot_be_written_is_written_later(pipeline):
    away = pipeline.data.alerts.rename(pipeline.data.root / "away")
    pipeline.calls()
    assert pipeline.state.view_failures_total == 1
    away.rename(pipeline.data.alerts)
    pipeline.tick(T0 + 1000)
    assert len(pipeline.active()["alerts"]) == 1


def _spoil(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE alert SET body = ?", "{}"),
        ("UPDATE alert SET body = ?", "not json"),
        ("UPDATE document SET body = ? WHERE name = 'outbox'", "[]"),
        ("UPDATE document SET body = ? WHERE name = 'thresholds'", '[{"key": 5}]'),
        ("DELETE FROM document WHERE name = ?", "ids"),
        ("UPDATE anomaly SET reason = ?", "whatever"),
    ],
)
def test_a_damaged_state_is_set_aside_and_ids_are_not_given_out_again(pipeline, statement, value):
    pipeline.do(AnomalyFound(anomaly(T0)))
    pipeline.calls()
    _spoil(pipeline.data.state / "alerter.db", statement, value)
    pipeline.start()
    assert pipeline.state.load() is None
    assert (pipeline.data.state / "alerter.db.unusable-1").exists()
    pipeline.calls()
    assert pipeline.state.core.book.opened()[0].alert_id == "alert-20251031-003"


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE slot SET body = ?", b"junk"),
        ("UPDATE slot SET body = ?", "text"),
        ("UPDATE slot SET slot = ?", 2**62),
        ("UPDATE slot SET slot = ?", -5),
        ("UPDATE slot SET slot = ?", "x"),
        ("UPDATE series SET server = ?", 5),
        ("UPDATE series SET id = ?", 2**40),
        ("UPDATE series SET id = ?", -1),
        ("DELETE FROM series WHERE server = ?", "s"),
    ],
)
def test_damaged_windows_begin_empty_and_alerts_stay(pipeline, statement, value):
    pipeline.calls()
    _spoil(pipeline.data.state / "alerter.db", statement, value)
    pipeline.start()
    assert len(pipeline.state.core.book.opened()) == 1
    pipeline.calls()
    pipeline.calls(tool="other")
    pipeline.save()
    pipeline.start()
    assert len(pipeline.state.core.book.opened()) == 2


def test_a_database_with_a_trigger_is_not_trusted(pipeline):
    pipeline.save()
    _spoil(pipeline.data.state / "alerter.db", "CREATE TRIGGER t AFTER INSERT ON alert BEGIN DELETE FROM alert; END")
    pipeline.start()
    assert pipeline.state.load() is None


def test_a_rebuild_fills_the_windows_from_the_store_and_keeps_the_alerts(pipeline):
    pipeline.calls(tool="old")
    folder = pipeline.data.metrics / "2025-10-31" / "s"
    folder.mkdir(parents=True)
    line = '{"timestamp":"2025-10-31T13:00:00.000Z","mcpServer":"s","toolName":"t","duration":1,"success":false}\n'
    (folder / "t.jsonl").write_text(line * 4 + "torn")
    pipeline.now_ms = T0 + 1000
    pipeline.state.rebuild(store_snapshot(pipeline.data, "new", 7), "new epoch")
    pipeline.state.caught_up(pipeline.now_ms)
    pipeline.save()
    assert len(pipeline.state.core.book.opened()) == 1
    pipeline.start()
    pipeline.calls(1, failed=1)
    assert [alert.candidate.fingerprint.tool for alert in pipeline.state.core.book.opened()] == ["old", "t"]
    assert pipeline.state.core.book.opened()[1].candidate.failures == 5


def test_a_failed_save_keeps_everything_for_the_next_one(pipeline, monkeypatch):
    pipeline.save()
    batch = build([("s", "t", T0, 1.0, False)] * 10)
    assert pipeline.state.apply(Entry("e", 1, T0, batch), T0, True)
    with monkeypatch.context() as patch:
        patch.setattr(
            "services.alerter.shell.database.encode_slot", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError)
        )
        with pytest.raises(sqlite3.OperationalError):
            pipeline.state.save(Position("e", 1))
    pipeline.state.save(Position("e", 1))
    pipeline.start()
    assert len(pipeline.state.core.book.opened()) == 1
    assert pipeline.state.core.evaluator.windows[300_000].failures.sum() == 10
