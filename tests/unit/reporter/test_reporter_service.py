"""The reporter at its socket, with stand-ins for the services that it asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import reporter_samples as samples
import zmq

from perfmon.paths import DataDirectory
from perfmon.rpc import RpcClient, RpcError
from services.reporter.core.questions import for_dashboard, for_report
from services.reporter.shell import build
from shared.rpc import RpcServer, router
from shared.runtime.service import Service, now_ms
from shared.settings import Settings
from shared.timespan import iso

RANGE = {"startMs": samples.SPAN.start_ms, "endMs": samples.SPAN.end_ms}
#: Longest wait for an answer; an answer comes much sooner.
WAIT_S = 10.0


class StandIn:
    """A service that answers canned results; a method without one is refused as unknown."""

    def __init__(self, endpoint: str, methods: dict[str, Callable[[dict[str, Any]], Any]]) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = router(self._context, endpoint)
        self._rpc = RpcServer(lambda callback: callback())
        self._over = threading.Event()
        for name, handler in methods.items():
            self._rpc.register(name, handler)
        self._thread = threading.Thread(target=self._turn)
        self._thread.start()

    def _turn(self) -> None:
        while not self._over.is_set():
            if self._socket.poll(50):
                self._rpc.drain(self._socket)
        self._rpc.close()
        self._context.destroy(linger=0)

    def stop(self) -> None:
        self._over.set()
        self._thread.join(5)


def rollup(params: dict[str, Any]) -> dict[str, Any]:
    """What the aggregator would answer, by what is asked."""
    raw = samples.raw_answers()
    before = params["endMs"] <= samples.SPAN.start_ms
    if params["by"] == "all":
        return raw["before"] if before else raw["timeline"]
    if "groupBy" in params:
        return samples.rollup(samples.hours(0.1))
    return raw[("servers" if params["by"] == "server" else "tools") + ("_before" if before else "")]


def stand_ins() -> dict[str, dict[str, Callable[[dict[str, Any]], Any]]]:
    raw = samples.raw_answers()
    return {
        "aggregator": {"rollup": rollup, "series": lambda _: raw["series"]},
        "detector": {"recent": lambda _: raw["anomalies"]},
        "alerter": {
            "alerts.list": lambda _: raw["alerts"],
            "alerts.history": lambda _: raw["history"],
            "thresholds.list": lambda _: raw["thresholds"],
        },
        "ingest": {"stats": lambda _: raw["ingest"]},
    }


class House:
    """A data directory with stand-ins and a running reporter."""

    def __init__(self, root: Path) -> None:
        self.data = DataDirectory(root.resolve() / "data")
        self.data.create()
        self.others: dict[str, StandIn] = {}
        self.service: Service | None = None

    def open(self, **methods: dict[str, Callable[[dict[str, Any]], Any]]) -> RpcClient:
        for name, handlers in (methods or stand_ins()).items():
            self.others[name] = StandIn(self.data.endpoint(name), handlers)
        self.service = Service("reporter", self.data, Settings())
        build(self.service)
        self.thread = threading.Thread(target=self.service.run)
        self.thread.start()
        self.client = RpcClient(self.data.endpoint("reporter"), timeout_s=WAIT_S)
        return self.client

    def close(self) -> None:
        if self.service is not None:
            self.client.close()
            self.service.stop()
            self.thread.join(5)
            assert not self.thread.is_alive()
            for end in (self.service._wake_in, self.service._wake_out):
                end.close()
        for other in self.others.values():
            other.stop()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path)
    yield found
    found.close()


@pytest.mark.parametrize(("wanted", "ending"), [("markdown", ".md"), ("json", ".json"), ("html", ".html")])
def test_a_report_is_answered_written_and_remembered(house: House, wanted: str, ending: str) -> None:
    client = house.open()
    assert client.call("latest") == {"path": None, "report": None}
    found = client.call("report", {**RANGE, "format": wanted})
    path = Path(found["path"])
    assert path.parent == house.data.reports
    assert path.name.endswith(ending)
    assert path.stat().st_size == found["digest"]["bytes"]
    assert found["summary"]["calls"] == 46_599
    assert found["recommendations"][0].startswith('"deploy_application" of "deployment-release-mcp" fails 34.4 %')
    assert (found["report"] is None) == (wanted == "html")
    assert client.call("latest") == found


def test_a_report_carries_the_messages_of_its_failing_tools(house: House) -> None:
    folder = house.data.metrics / "2025-10-31" / "deployment-release-mcp"
    folder.mkdir(parents=True)
    row = {
        "timestamp": "2025-10-31T15:00:00.000Z", "mcpServer": "deployment-release-mcp", "toolName": "deploy_application",
        "duration": 9, "success": False, "error": "no route to cluster 7",
    }  # fmt: skip
    (folder / "deploy_application.jsonl").write_text((json.dumps(row, separators=(",", ":")) + "\n") * 9)
    found = house.open().call("report", {**RANGE, "format": "json"})
    page = json.loads(Path(found["path"]).read_text())
    assert [(group["message"], group["count"]) for group in page["errors"]] == [("no route to cluster 7", 9)]
    assert page["recommendations"][0]["message"] == "no route to cluster 7"


@pytest.mark.parametrize("dead", ["aggregator", "detector", "alerter", "ingest"])
def test_a_dead_service_costs_its_part_and_is_named_in_the_report_and_the_dashboard(house: House, dead: str) -> None:
    client = house.open(**{name: methods for name, methods in stand_ins().items() if name != dead})
    report = client.call("report", RANGE)
    said = f"The {dead} did not answer in time; it may still be starting, ask again in a few seconds"
    assert any(said in gap for gap in report["gaps"])
    found = client.call("dashboard", {})
    assert any(f"The {dead} did not answer in time" in text for text in found["missing"])


def test_with_nobody_there_a_partial_answer_comes_and_ping_is_answered_meanwhile(house: House) -> None:
    client = house.open(nobody={})
    other = RpcClient(house.data.endpoint("reporter"), timeout_s=WAIT_S)
    found: list[Any] = []
    asking = threading.Thread(target=lambda: found.append(other.call("report", RANGE)))
    asking.start()
    assert client.call("ping")["service"] == "reporter"
    asking.join(WAIT_S)
    other.close()
    assert found[0]["summary"]["status"] == "unknown"
    assert len(found[0]["gaps"]) >= 4


def test_a_service_that_refuses_is_told_from_one_that_is_silent(house: House) -> None:
    client = house.open(**(stand_ins() | {"detector": {}}))
    found = client.call("report", RANGE)
    assert any("The detector refused" in gap and "unknown method" in gap for gap in found["gaps"])


def test_a_service_that_comes_back_is_heard_again(house: House) -> None:
    client = house.open(**{name: methods for name, methods in stand_ins().items() if name != "detector"})
    assert client.call("dashboard", {})["recentAnomalies"] is None
    house.others["detector"] = StandIn(house.data.endpoint("detector"), stand_ins()["detector"])
    for _ in range(50):
        if client.call("dashboard", {})["recentAnomalies"] is not None:
            break
    else:
        pytest.fail("the detector was never heard again")


def test_the_dashboard_answers_from_the_last_hour_and_asks_for_the_day_before_once(house: House) -> None:
    asked: list[dict[str, Any]] = []

    def counted(params: dict[str, Any]) -> Any:
        asked.append(params)
        return rollup(params | {"endMs": samples.SPAN.end_ms} if params["endMs"] > now_ms() - 60_000 else params)

    others = stand_ins()
    others["aggregator"]["rollup"] = counted
    client = house.open(**others)
    first, second = client.call("dashboard", {}), client.call("dashboard", {"limit": 3})
    assert first["window"]["name"] == "last hour"
    assert len(second["mcpServers"]) == 3
    assert first["systemHealth"]["status"] == "degraded"
    assert len(asked) == 4 + 2  # the second time only the window itself


def test_the_slowest_tool_is_on_the_dashboard_also_when_too_many_tools_were_called_to_list(house: House) -> None:
    def partly(params: dict[str, Any]) -> Any:
        if params.get("sort") == "p95":
            return samples.rollup([samples.stats("git", "snail", 50, 0, 9_000, 90_000)], rowsTotal=500)
        found = rollup(params | {"endMs": samples.SPAN.end_ms})
        return found | {"rowsTotal": 500} if params["by"] == "tool" else found

    others = stand_ins()
    others["aggregator"]["rollup"] = partly
    found = house.open(**others).call("dashboard", {})
    assert "snail" in {tool["toolName"] for tool in found["worstTools"]}


def test_without_calls_the_dashboard_widens_its_window_and_says_so(house: House) -> None:
    others = stand_ins()
    empty = samples.rollup([], {"count": 0}, freshness={"lastMetricMs": 5_000_000, "seq": 1, "lagEntries": 0})
    others["aggregator"] = {"rollup": lambda _: empty, "series": lambda _: {"series": [["s", "t", 5_000_000]]}}
    found = house.open(**others).call("dashboard", {})
    assert found["window"]["name"] == "last data seen"
    assert found["systemHealth"]["status"] == "no_data"
    assert "no data since 1970-01-01 01:23 UTC" in found["systemHealth"]["message"]


@pytest.mark.parametrize("method", ["report", "dashboard"])
def test_an_unknown_server_is_refused_with_the_nearest_names(house: House, method: str) -> None:
    client = house.open()
    with pytest.raises(RpcError) as caught:
        client.call(method, {**RANGE, "mcpServer": "projekt-management"})
    assert caught.value.code == "unknown_server"
    assert caught.value.fields["nearest"][0] == "project-management-mcp"


def test_freshness_is_of_now_though_the_day_before_is_remembered(house: House) -> None:
    long_ago_ms = now_ms() - 60_000
    seq, last_ms = 100, long_ago_ms

    def fresh(params: dict[str, Any]) -> dict[str, Any]:
        said = {"lastMetricMs": last_ms, "seq": seq, "lagEntries": 0}
        return rollup(params | {"endMs": samples.SPAN.end_ms}) | {"freshness": said}

    others = stand_ins()
    others["aggregator"] |= {
        "rollup": fresh,
        "series": lambda _: {"series": [["git", "git_log", long_ago_ms]], "overflow": 0},
    }
    others["ingest"]["stats"] = lambda _: {"head": seq}
    client = house.open(**others)
    assert client.call("dashboard", {})["ingestLag"] == 0
    seq, last_ms = 749, long_ago_ms + 58_000
    found = client.call("dashboard", {})
    assert found["ingestLag"] == 0
    assert found["freshness"]["lastMetric"] == iso(last_ms)


@pytest.mark.parametrize("params", [{}, {"startMs": 9, "endMs": 1}, {**RANGE, "format": "pdf"}])
def test_a_bad_request_is_refused_with_its_reason(house: House, params: dict[str, Any]) -> None:
    with pytest.raises(RpcError) as caught:
        house.open().call("report", params)
    assert caught.value.code == "bad_request"


def test_a_full_disk_costs_the_file_and_not_the_report(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("services.reporter.report_files.write_atomic", full)
    client = house.open()
    found = client.call("report", RANGE)
    assert found["path"] is None
    assert "46,599" in found["report"]
    with pytest.raises(RpcError) as caught:
        client.call("report", {**RANGE, "format": "html"})
    assert (caught.value.code, caught.value.fields["reason"]) == ("not_written", "ENOSPC")
    assert client.call("stats")["unwritten_total"] == 2


def test_every_question_goes_to_a_service_that_exists() -> None:
    asked = for_report(samples.SPAN, None) | for_dashboard(samples.SPAN, samples.END_MS, None)
    assert {question.service for question in asked.values()} == {"aggregator", "detector", "alerter", "ingest"}
