"""`perfmon explain` on real processes: a fault comes in through ingest's socket, and the command says what happened and why."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perfmon.paths import DataDirectory
from perfmon.rpc import RpcError
from tests.kit import ServiceProcess, Writer, eventually, row

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(180)]

Start = Callable[..., ServiceProcess]

SERVER = "docs"
#: A name that would paint a terminal.
HOSTILE = "li\x1b[31mst"
EVERY_MS = 30_000
CALLS = 300
#: Calls from the end at which memory of `search` begins to grow, `search` and the others become slow, `db` fails.
GROWN, SLOW, FAILED = 44, 32, 30


def ready(start: Start) -> ServiceProcess:
    """The detector, whose kernels may have to be compiled first."""
    return start("detector", ready=False).wait_ready(120)


def calls(now_ms: int, n: int = CALLS) -> Iterator[dict[str, Any]]:
    """Five tools that are called every half minute until now, and go wrong at the end."""
    chance = random.Random(5)
    for i in range(n):
        left = n - i
        for tool in ("search", "fetch", HOSTILE, "quiet", "db"):
            slow = left <= SLOW - (0 if tool == "search" else 4) and tool in {"search", "fetch", HOSTILE}
            failed = tool == "db" and left <= FAILED
            memory = 100 + chance.gauss(0, 2) + (40 + 6 * (GROWN - left) if tool == "search" and left <= GROWN else 0)
            yield row(
                tool,
                SERVER,
                round(chance.lognormvariate(4.6, 0.2) * (9 if slow else 1), 3),
                success=not failed,
                timestamp=now_ms - left * EVERY_MS + chance.randrange(900),
                resource={"cpu": 10.0 + chance.random(), "memory": memory},
                **({"error": f"connect ECONNREFUSED 10.0.0.{i % 9}:5432"} if failed else {}),
            )


def go_wrong(writer: Writer) -> None:
    rows = list(calls(time.time_ns() // 1_000_000))
    for at in range(0, len(rows), 250):
        assert not writer.write(*rows[at : at + 250])["rejected"]


def explain(data: DataDirectory, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perfmon", "explain", *arguments, "--data", str(data.root)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment}
    )


def found(detector: ServiceProcess) -> dict[tuple[str, str], dict[str, Any]]:
    answer = detector.call("anomalies", {"limit": 100, "detail": "full"})
    return {(one["toolName"], one["anomalyType"]): one for one in answer["anomalies"]}


def test_a_fault_is_explained_with_its_incident_and_likely_cause(
    start: Start, ingest: ServiceProcess, writer: Writer, data_directory: DataDirectory
) -> None:
    detector = ready(start)
    go_wrong(writer)
    wanted = {("search", "resource_spike"), ("search", "response_time_spike"), ("db", "error_rate_spike")}
    anomalies = eventually(lambda: (all_ := found(detector)).keys() >= wanted and all_, "the fault is found")
    incident = anomalies["search", "resource_spike"]["incident"]
    assert incident["role"] == "cause"
    for key in wanted:
        assert anomalies[key]["incident"]["id"] == incident["id"]
        assert anomalies[key]["explanation"]["part"]
    cause = anomalies["db", "error_rate_spike"]["incident"]["likelyCause"]
    assert cause["sentence"].startswith("memory of “search” rose since")
    assert "before its calls became slow" in cause["sentence"]
    assert 0.3 < cause["confidence"] < 1.0

    by_id = explain(data_directory, anomalies["search", "response_time_spike"]["id"])
    assert by_id.returncode == 0, by_id.stderr
    assert by_id.stdout.startswith(anomalies["search", "response_time_spike"]["id"])
    for part in (
        "“search” of “docs” became slow at",
        "usual",
        "band",
        "fired",
        "memory rose",
        incident["id"],
        "likely",
    ):
        assert part in by_id.stdout
    assert "▲" in by_id.stdout
    assert "█" in by_id.stdout
    assert max(map(len, by_id.stdout.splitlines())) <= 100

    failing = explain(data_directory, anomalies["db", "error_rate_spike"]["id"].rpartition("-")[2])
    assert "“connect ECONNREFUSED #” in " in failing.stdout
    hostile = explain(data_directory, anomalies[HOSTILE, "response_time_spike"]["id"])
    assert "“li\\x1b[31mst”" in hostile.stdout
    assert "\x1b" not in hostile.stdout

    latest = explain(data_directory, "latest", "--json")
    told = json.loads(latest.stdout)
    newest = max(anomalies.values(), key=lambda one: one["startTs"])
    assert told["anomaly"]["startTs"] >= newest["startTs"]
    assert {"baseline", "bands", "part", "confidence", "timeline", "causes", "chart"} <= told["explanation"].keys()
    plain = explain(data_directory, "latest", PYTHONIOENCODING="ascii")
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.isascii()


def test_what_is_not_there_is_said_with_the_nearest(
    start: Start, ingest: ServiceProcess, writer: Writer, data_directory: DataDirectory
) -> None:
    unanswered = explain(data_directory, "latest")
    assert unanswered.returncode == 1
    assert "perfmon up" in unanswered.stderr
    detector = ready(start)
    none = explain(data_directory)
    assert (none.returncode, none.stdout) == (1, "")
    assert "no anomaly has been found" in none.stderr
    go_wrong(writer)
    anomalies = eventually(lambda: len(all_ := found(detector)) >= 4 and all_, "the fault is found")
    name = anomalies["search", "response_time_spike"]["id"]
    unknown = explain(data_directory, name[:-1] + "z")
    assert unknown.returncode == 1
    assert "no anomaly is called" in unknown.stderr
    assert name in unknown.stderr
    several = explain(data_directory, "anomaly-")
    assert several.returncode == 1
    assert "fits several" in several.stderr
    hostile = explain(data_directory, "x\x1b[31m" * 100)
    assert hostile.returncode == 1
    assert "\x1b" not in hostile.stderr
    for params in ({}, {"id": 5}, {"id": "latest", "width": 3}, {"id": "latest", "points": [[1, "x"]]}):
        with pytest.raises(RpcError):
            detector.call("explain", params)


def test_an_old_anomaly_is_drawn_from_the_rollups(
    start: Start, ingest: ServiceProcess, writer: Writer, data_directory: DataDirectory
) -> None:
    detector, aggregator = ready(start), start("aggregator")
    go_wrong(writer)
    anomalies = eventually(lambda: len(all_ := found(detector)) >= 4 and all_, "the fault is found")
    name = anomalies["search", "response_time_spike"]["id"]
    aggregator.eventually(lambda _: aggregator.call("freshness")["lagEntries"] == 0, "the rollups have it")
    eventually(lambda: detector.call("recent", {"sinceMs": 0, "limit": 50})["total"] >= 4, "they are stored")
    detector.terminate()
    forget_series(data_directory)
    again = ready(start)
    assert again.call("explain", {"id": name})["explanation"]["chart"] == []
    drawn = explain(data_directory, name)
    assert drawn.returncode == 0, drawn.stderr
    assert "█" in drawn.stdout
    aggregator.kill()
    without = explain(data_directory, name)
    assert without.returncode == 0, without.stderr
    assert "the minutes around it" in without.stdout


def forget_series(data: DataDirectory) -> None:
    """As after a day: the events stay, the tools' minutes are gone."""
    import sqlite3

    with sqlite3.connect(data.state / "detector.db") as database:
        database.execute("DELETE FROM series")
        database.execute("DELETE FROM chunk")
    database.close()
