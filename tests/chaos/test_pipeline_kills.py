"""kill -9 of every process under load: nothing acknowledged is lost or doubled, in the files, the rollups or the alerts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfmon.paths import CONSUMERS, SERVICES, DataDirectory
from perfmon.pipeline import ensure_running, stop
from perfmon.rpc import RpcClient, RpcError
from tests.chaos.acknowledged_load import Load, stored_numbers

#: Kills of each process.
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "20"))
RATE = int(os.environ.get("CHAOS_RATE", "20000"))
#: Between two kills: longer than supervisord's `startsecs`, so that a kill counts as one and not as a failing start.
BETWEEN_S = 2.2
#: How long a killed process may take until it answers again.
BACK_LIMIT_S = 30.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDirectory]:
    directory = DataDirectory((tmp_path / "data").resolve())
    ensure_running(directory, started_by="test", wait_ready_s=120)
    yield directory
    stop(directory, timeout_s=60)


@pytest.mark.parametrize("victim", SERVICES)
def test_kill_9_under_load_loses_and_doubles_nothing(data: DataDirectory, victim: str) -> None:
    load = Load(data, RATE)
    load.start()
    back: list[float] = []
    for _ in range(ROUNDS):
        time.sleep(BETWEEN_S)  # the load runs on; nothing is awaited here
        pid = ask(data, victim, "ping")["pid"]
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        eventually(lambda pid=pid: answers(data, victim, other_than=pid), BACK_LIMIT_S)
        back.append(time.monotonic() - killed)
    load.stop()
    print(f"\n{victim}: {ROUNDS} kills, back after {max(back):.2f} s at most, {len(load.acknowledged)} metrics")  # noqa: T201 - the figure of the run
    assert_everything_counted_once(data, load)


def test_kill_9_of_supervisord_is_survived(data: DataDirectory) -> None:
    load = Load(data, RATE // 4)
    load.start()
    for _ in range(max(1, ROUNDS // 5)):
        time.sleep(BETWEEN_S)  # the load runs on; nothing is awaited here
        supervisor = ask(data, "ingest", "ping")["pid"]
        parent = int(Path(f"/proc/{supervisor}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(parent, signal.SIGKILL)
        ensure_running(data, started_by="test", wait_ready_s=60)
    load.stop()
    assert_everything_counted_once(data, load)


def assert_everything_counted_once(data: DataDirectory, load: Load) -> None:
    assert not load.refused
    assert load.acknowledged, "the load sent nothing"
    head = ask(data, "ingest", "flush", timeout_s=60)["seq"]
    for name in CONSUMERS:
        eventually(lambda name=name: ask(data, name, "ping")["seq"] >= head, 120)
    stored = stored_numbers(data)
    assert set(stored) == load.acknowledged
    assert max(stored.values()) == 1, "a metric is stored twice"
    assert_rollups(data, load)
    assert_error_windows(data, load)
    assert_alerts(data)


def assert_rollups(data: DataDirectory, load: Load) -> None:
    now = time.time_ns() // 1_000_000
    for by in ("minute", None):
        params = {"startMs": now - 3_600_000 * 3, "endMs": now + 60_000, "by": "tool"}
        answer = ask(data, "aggregator", "rollup", params | ({"groupBy": by} if by else {}), timeout_s=30)
        counts: dict[tuple[str, str], int] = {}
        errors: dict[tuple[str, str], int] = {}
        for row in answer["rows"]:
            key = (row["mcpServer"], row["toolName"])
            counts[key] = counts.get(key, 0) + row["count"]
            errors[key] = errors.get(key, 0) + row["errors"]
        assert counts == dict(load.counts)
        assert errors == {key: load.failures[key] for key in counts}


def assert_error_windows(data: DataDirectory, load: Load) -> None:
    windows = ask(data, "alerter", "windows")
    found = {(row["mcpServer"], row["toolName"]): (row["calls"], row["errors"]) for row in windows["series"]}
    assert found == {key: (count, load.failures[key]) for key, count in load.counts.items()}


def assert_alerts(data: DataDirectory) -> None:
    alerts = ask(data, "alerter", "alerts.list", {"limit": 100})["alerts"]
    conditions = [(a["mcpServer"], a["toolName"], a["condition"].split()[0]) for a in alerts]
    assert len(conditions) == len(set(conditions)), "one open alert a condition and series"
    assert ("chaos-c", "always_fails", "error_rate") in conditions


def ask(
    data: DataDirectory, service: str, method: str, params: dict[str, Any] | None = None, timeout_s: float = 10.0
) -> Any:
    endpoint = data.endpoint("ingest.write" if service == "ingest" else service)
    with RpcClient(endpoint, timeout_s=timeout_s) as client:
        return client.call(method, params)


def answers(data: DataDirectory, service: str, other_than: int) -> bool:
    try:
        answer = ask(data, service, "ping", timeout_s=0.3)
    except RpcError:
        return False
    return bool(answer["ready"] and answer["pid"] != other_than)


def eventually(condition: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s"
        time.sleep(0.01)  # the pause between two looks at the condition
