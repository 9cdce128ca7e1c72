"""The real service beside a real ingest: answers over its socket, and what a kill leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from perfmon.paths import DataDirectory
from perfmon.rpc import RpcError
from shared.timespan import iso
from tests.kit import ServiceProcess, Writer, eventually
from tests.unit.detector.detector_kit import ordinary

pytestmark = pytest.mark.pipeline

Start = Callable[..., ServiceProcess]


def slow_tool(now_ms: int, n: int = 120, earlier: slice = slice(0)) -> list[dict[str, object]]:
    values = ordinary(n)
    values[-8:] *= 20
    values[earlier] *= 20
    return [
        {
            "mcpServer": "files", "toolName": "read", "timestamp": iso(now_ms - (n - i) * 4_000), "duration": float(value),
            "success": True,
        }
        for i, value in enumerate(values)
    ]  # fmt: skip


def clock() -> int:
    from shared.runtime.service import now_ms

    return now_ms()


def anomaly_lines(data: DataDirectory) -> list[dict[str, object]]:
    return [json.loads(line) for path in data.anomalies.glob("*.jsonl") for line in path.read_text().splitlines()]


def test_a_slow_tool_is_answered_stored_and_survives_a_kill(
    start: Start, ingest: ServiceProcess, writer: Writer, data_directory: DataDirectory
) -> None:
    detector = start("detector")
    ack = writer.write(*slow_tool(clock()))
    assert ack["stored"] == 120
    detector.eventually(lambda stats: stats["events_open"] == 1, "it is found")
    (anomaly,) = detector.call("anomalies", {"limit": 5})["anomalies"]
    assert (anomaly["mcpServer"], anomaly["toolName"], anomaly["endTs"]) == ("files", "read", None)
    (line,) = eventually(lambda: anomaly_lines(data_directory), "it is stored")
    assert line["id"] == anomaly["id"]
    detector.kill()
    again = start("detector")
    assert [a["id"] for a in again.call("anomalies")["anomalies"]] == [anomaly["id"]]
    assert [a["id"] for a in again.call("recent", {"sinceMs": 0})["anomalies"]] == [anomaly["id"]]
    assert again.stats()["anomalies_waiting"] == 1, "the alerter, which does not run, is still owed it"
    assert len(anomaly_lines(data_directory)) == 1
    for method in ("z-score", "moving-avg", "percentile"):
        answer = again.call("anomalies", {"method": method, "sensitivity": "high"})
        assert answer["coverage"]["calls"] == 120
        assert answer["freshness"]["seq"] == 1
        assert answer["summary"]["total"] >= 1
    with pytest.raises(RpcError, match="sensitivity") as refused:
        again.call("anomalies", {"sensitivity": "very"})
    assert refused.value.code == "bad_parameter"
    assert again.terminate() == 0


def test_a_lost_state_is_rebuilt_from_the_files(
    start: Start, ingest: ServiceProcess, writer: Writer, data_directory: DataDirectory
) -> None:
    writer.write(*slow_tool(clock()))
    detector = start("detector")
    detector.eventually(lambda stats: stats["calls_total"] == 120, "all is folded in")
    eventually(lambda: anomaly_lines(data_directory), "the anomaly is stored")
    assert detector.terminate() == 0
    ingest.kill()
    for path in (*data_directory.state.glob("detector.db*"), *data_directory.journal.glob("*")):
        path.unlink()
    start("ingest")
    again = start("detector")
    answer = again.call("anomalies")
    assert answer["coverage"]["calls"] == 120
    assert answer["summary"]["total"] == 1
    assert again.stats()["rebuilds_total"] == 1
    assert again.stats()["anomalies_waiting"] <= 1
    assert len({line["id"] for line in anomaly_lines(data_directory)}) == 1


@pytest.mark.parametrize("database", [True, False])
def test_an_anomaly_under_way_survives_the_loss_of_the_journal(
    start: Start,
    ingest: ServiceProcess,
    writer: Writer,
    data_directory: DataDirectory,
    database: bool,
) -> None:
    writer.write(*slow_tool(clock(), 400, slice(200, 208)))
    detector = start("detector")
    detector.eventually(lambda stats: stats["calls_total"] == 400, "all is folded in")
    before = {a["id"]: a["endTs"] is None for a in detector.call("anomalies")["anomalies"]}
    assert sorted(before.values()) == [False, True]
    eventually(lambda: len(anomaly_lines(data_directory)) == 3, "they are stored")
    assert detector.terminate() == 0
    ingest.kill()
    lost = () if database else data_directory.state.glob("detector.db*")
    for path in (*lost, *data_directory.journal.glob("*")):
        path.unlink()
    start("ingest")
    again = start("detector")
    assert {a["id"]: a["endTs"] is None for a in again.call("anomalies")["anomalies"]} == before
    assert again.stats()["rebuilds_total"] == 1
    assert len(anomaly_lines(data_directory)) == 3
