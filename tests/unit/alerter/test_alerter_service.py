"""The running alerter: what its requests accept and answer, and what a kill leaves."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from perfmon.rpc import RpcClient, RpcError
from shared.runtime.service import now_ms
from tests.kit import ServiceProcess, Writer, eventually, row

THRESHOLD = {"metric": "response_time", "threshold": 100, "severity": "critical", "mcpServer": "files"}


def _fail(writer: Writer, tool: str = "write", n: int = 6) -> None:
    writer.write(*[row(tool=tool, success=False, error="no") for _ in range(n)])


def _alerts(alerter: ServiceProcess, **params: Any) -> dict[str, Any]:
    return alerter.call("alerts.list", params)


def _refused(alerter: ServiceProcess, method: str, params: dict[str, Any]) -> RpcError:
    with pytest.raises(RpcError) as error:
        alerter.call(method, params)
    return error.value


@pytest.fixture
def alerter(start, ingest) -> ServiceProcess:
    return start("alerter")


def test_a_metric_becomes_an_alert_that_is_listed_acknowledged_and_in_the_file(alerter, writer, data_directory):
    _fail(writer)
    listed = eventually(lambda: (a := _alerts(alerter))["total"] and a)
    (alert,) = listed["alerts"]
    assert (alert["condition"], alert["severity"], alert["currentValue"]) == ("error_rate > 5%", "critical", 100)
    assert listed["summary"]["totalActive"] == 1
    assert listed["summary"]["byMcp"] == {"files": 1}
    answer = alerter.call("alerts.acknowledge", {"alertId": alert["alertId"], "acknowledgedBy": "ada", "notes": "mine"})
    assert answer["alreadyAcknowledged"] is False
    again = alerter.call("alerts.acknowledge", {"alertId": alert["alertId"], "acknowledgedBy": "bob"})
    assert (again["alreadyAcknowledged"], again["alert"]["acknowledgedBy"]) == (True, "ada")
    body = json.loads((data_directory.alerts / "active-alerts.json").read_text())
    assert (body["alerts"][0]["acknowledgedBy"], body["alerts"][0]["notes"]) == ("ada", "mine")


def test_thirty_people_acknowledge_thirty_alerts_at_once(start, ingest, writer, data_directory):
    alerter = start("alerter", environment={"PERFMON_MAX_ALERTS_PER_SERVER_PER_HOUR": "100"})
    writer.write(*[row(tool=f"t{n}", success=False) for n in range(30) for _ in range(5)])
    alerts = eventually(lambda: (a := _alerts(alerter, limit=100))["total"] == 30 and a)["alerts"]

    def acknowledge(alert_id: str) -> bool:
        with RpcClient(alerter.endpoint, timeout_s=20) as client:
            params = {"alertId": alert_id, "acknowledgedBy": "team"}
            return not client.call("alerts.acknowledge", params)["alreadyAcknowledged"]

    with ThreadPoolExecutor(30) as pool:
        assert all(pool.map(acknowledge, [alert["alertId"] for alert in alerts]))
    body = json.loads((data_directory.alerts / "active-alerts.json").read_text())
    assert {alert["acknowledgedBy"] for alert in body["alerts"]} == {"team"}


def test_an_unknown_alert_is_refused_with_the_nearest_ids(alerter, writer):
    assert "no alert is open" in str(_refused(alerter, "alerts.acknowledge", {"alertId": "x", "acknowledgedBy": "y"}))
    _fail(writer)
    alert = eventually(lambda: _alerts(alerter)["alerts"])[0]
    error = _refused(alerter, "alerts.acknowledge", {"alertId": alert["alertId"][:-1] + "9", "acknowledgedBy": "y"})
    assert (error.code, error.fields["nearest"]) == ("unknown_alert", [alert["alertId"]])


def test_a_threshold_is_set_listed_saved_and_judged_on_the_next_call(alerter, writer, data_directory):
    answer = alerter.call("thresholds.set", THRESHOLD)
    assert answer["config"]["threshold"] == 100
    assert [(t["relation"], t["severity"]) for t in answer["alsoApply"]] == [
        ("wider", "critical"),
        ("wider", "warning"),
    ]
    saved = json.loads((data_directory.config / "thresholds.json").read_text())
    assert saved["thresholds"][0]["thresholdId"] == answer["thresholdId"]
    assert alerter.call("thresholds.list")["thresholds"][0]["thresholdId"] == answer["thresholdId"]
    writer.write(row(duration=101))
    (alert,) = eventually(lambda: _alerts(alerter)["alerts"])
    assert (alert["condition"], alert["currentValue"]) == ("response_time > 100ms", 101)


def test_setting_a_threshold_answers_the_alerts_it_covers_and_names_the_other_thresholds(alerter, writer):
    writer.write(*[row(duration=1500) for _ in range(10)])
    (alert,) = eventually(lambda: _alerts(alerter)["alerts"])
    mine = {"metric": "response_time", "mcpServer": alert["mcpServer"], "toolName": alert["toolName"]}
    answer = alerter.call("thresholds.set", {**mine, "threshold": 2000, "severity": "warning"})
    assert (answer["openAlerts"], answer["resolvedAlerts"]) == ([alert["alertId"]], [])
    assert [other["words"] for other in answer["alsoApply"]] == [
        "the default critical threshold response_time > 1000 ms for everything: of the other severity, so it holds as well",
        "the default warning threshold response_time > 500 ms for everything: no longer holds where you set this one",
    ]
    answer = alerter.call("thresholds.set", {**mine, "threshold": 1, "severity": "critical", "enabled": False})
    assert (answer["openAlerts"], answer["resolvedAlerts"]) == ([], [alert["alertId"]])
    other = next(each for each in answer["alsoApply"] if not each["default"])
    place = f"server '{alert['mcpServer']}', tool '{alert['toolName']}'"
    assert other["words"].startswith(f"a set warning threshold response_time > 2000 ms for {place}")


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("thresholds.set", {**THRESHOLD, "threshold": float("nan")}, "bad_threshold"),
        ("thresholds.set", {**THRESHOLD, "threshold": -5}, "bad_threshold"),
        ("thresholds.set", {**THRESHOLD, "metric": "latency"}, "bad_threshold"),
        ("thresholds.set", {**THRESHOLD, "shell": "rm"}, "bad_threshold"),
        ("thresholds.set", {}, "bad_threshold"),
        ("alerts.acknowledge", {}, "bad_request"),
        ("alerts.acknowledge", {"alertId": 5, "acknowledgedBy": "x"}, "bad_request"),
        ("alerts.acknowledge", {"alertId": "a", "acknowledgedBy": "  "}, "bad_request"),
        ("alerts.acknowledge", {"alertId": "a", "acknowledgedBy": "x" * 201}, "bad_request"),
        ("alerts.acknowledge", {"alertId": "a" * 10_000, "acknowledgedBy": "x"}, "bad_request"),
        ("alerts.list", {"limit": 0}, "bad_request"),
        ("alerts.list", {"limit": True}, "bad_request"),
        ("alerts.list", {"severity": "info"}, "bad_request"),
        ("alerts.list", {"severity": ["critical"]}, "bad_request"),
        ("alerts.list", {"status": "silenced"}, "bad_request"),
        ("alerts.history", {}, "bad_request"),
        ("alerts.history", {"startMs": 5, "endMs": 5}, "bad_range"),
        ("alerts.history", {"startMs": 5, "endMs": 2**60}, "bad_request"),
        ("windows", {"windowMs": 5}, "bad_request"),
        ("windows", {"windowMs": [300_000]}, "bad_request"),
        ("anomaly.raise", {}, "bad_anomaly"),
        ("anomaly.raise", {"anomaly": {"id": "a", "severity": "warning"}}, "bad_anomaly"),
        ("anomaly.raise", {"anomaly": {"id": 5, "severity": "info"}}, "bad_anomaly"),
        ("anomaly.raise", {"anomaly": {"id": ["a"], "severity": "info"}}, "bad_anomaly"),
    ],
)
def test_bad_requests_are_refused_with_a_reason(shared_alerter, method, params, code):
    assert _refused(shared_alerter, method, params).code == code
    assert shared_alerter.call("ping")["ready"]


@pytest.fixture(scope="module")
def shared_alerter(tmp_path_factory):
    """One alerter for requests that change nothing."""
    from perfmon.paths import DataDirectory

    data = DataDirectory(tmp_path_factory.mktemp("shared").resolve() / "data")
    data.create()
    services = [ServiceProcess("ingest", data).wait_ready(), ServiceProcess("alerter", data).wait_ready()]
    yield services[1]
    for service in reversed(services):
        service.clean_up()


def test_an_anomaly_is_raised_once_however_often_it_comes(alerter):
    from alerter_timeline import anomaly

    found = anomaly(now_ms(), mcpServer="files\x1b[31m")
    first = alerter.call("anomaly.raise", {"anomaly": found})
    assert (first["outcome"], first["reason"], first["repeated"]) == ("alert", "raised", False)
    again = alerter.call("anomaly.raise", {"anomaly": found})
    assert again == {**first, "repeated": True}
    worse = {"anomaly": found | {"severity": "critical"}, "key": f"{found['id']}-critical"}
    assert alerter.call("anomaly.raise", worse)["reason"] == "upgraded"
    assert _alerts(alerter)["alerts"][0]["anomalyIds"] == [found["id"]]
    assert alerter.call("anomaly.raise", worse)["repeated"]
    assert _refused(alerter, "anomaly.raise", {**worse, "key": 5}).code == "bad_request"
    assert _alerts(alerter)["alerts"][0]["condition"] == "response_time_spike detected"
    alerter.kill()


def test_filters_sort_the_worst_first_and_limit(alerter, writer):
    _fail(writer, "broken")
    writer.write(*[row(tool="slow", duration=700) for _ in range(10)])
    writer.write(*[row(tool="slow", server="other", duration=700) for _ in range(10)])
    eventually(lambda: _alerts(alerter)["total"] == 3)
    assert [a["severity"] for a in _alerts(alerter)["alerts"]] == ["critical", "warning", "warning"]
    assert _alerts(alerter, severity="warning", mcpServer="other")["total"] == 1
    assert len(_alerts(alerter, limit=1)["alerts"]) == 1
    assert _alerts(alerter, mcpServer="othe")["total"] == 0
    assert _alerts(alerter, status="acknowledged")["total"] == 0
    history = alerter.call(
        "alerts.history", {"startMs": now_ms() - 60_000, "endMs": now_ms() + 1, "mcpServer": "other"}
    )
    assert history["total"] == 1


def test_a_kill_loses_no_alert_no_threshold_and_doubles_no_failure(start, ingest, writer):
    alerter = start("alerter")
    alerter.call("thresholds.set", THRESHOLD)
    _fail(writer, n=4)
    for _ in range(3):
        alerter.kill()
        alerter = start("alerter")
    assert _alerts(alerter)["total"] == 0
    window = {"mcpServer": "files", "toolName": "write", "calls": 4, "errors": 4}
    assert alerter.call("windows")["series"] == [window]
    _fail(writer, n=1)
    (alert,) = eventually(lambda: _alerts(alerter)["alerts"])
    assert alert["failures"] == 5
    alerter.kill()
    alerter = start("alerter")
    assert [a["alertId"] for a in _alerts(alerter)["alerts"]] == [alert["alertId"]]
    assert alerter.call("thresholds.list")["thresholds"][0]["threshold"] == 100


def test_faults_while_it_was_down_are_one_current_alert_a_condition(start, ingest, writer):
    for _ in range(5):
        _fail(writer)
    alerter = start("alerter")
    (alert,) = eventually(lambda: _alerts(alerter)["alerts"])
    assert alert["failures"] == 30
    assert _alerts(alerter)["total"] == 1


def test_hostile_names_are_carried_as_they_are_and_leave_the_tree_alone(alerter, writer, data_directory):
    for name in ("../../x", "a\x00b", "\u202egnp", "x" * 300, "__proto__"):
        writer.write(*[row(server=name, tool=name, success=False) for _ in range(5)])
    listed = eventually(lambda: (a := _alerts(alerter))["total"] >= 4 and a)
    assert "../../x" in listed["summary"]["byMcp"]
    assert sorted(path.name for path in data_directory.alerts.iterdir()) == ["active-alerts.json", "history"]


def test_the_end_is_clean(alerter):
    assert alerter.terminate() == 0
