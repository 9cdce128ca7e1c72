"""A benchmark from end to end: a pipeline of its own, a generator process, every figure, nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.pipeline

OURS = {"ingest", "detector", "alerter", "aggregator", "rest"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a quick run, by table."""
    folder = tmp_path_factory.mktemp("bench")
    words = ["bench", "ingest", "--quick", "--seconds", "0.3", "--only", "batches of 10", "--only", "rows"]
    process = subprocess.Popen(
        [sys.executable, "-m", "perfmon", *words, "--json", str(folder / "out.json"), "--dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"XDG_STATE_HOME": str(folder)},
    )
    try:
        told, _ = process.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        process.terminate()  # it stops its pipeline, which would outlive it if it was killed
        told, _ = process.communicate()
    assert process.returncode == 0, told
    assert [path.name for path in folder.iterdir()] == ["out.json"]
    return {result["name"]: result for result in json.loads((folder / "out.json").read_text())["results"]}


def rows(table: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {figure["what"]: figure["values"] for figure in table["figures"]}


def test_everything_that_was_sent_is_in_the_files_and_in_the_rollups(tables: dict[str, Any]) -> None:
    speed = rows(tables["ingest"])
    assert set(speed) == {"batches of 10,000", "rows, 500 a message"}
    for values in speed.values():
        assert values["metrics"] > 0
        assert (values["lost"], values["lost in rollups"]) == (0, 0)
        assert values["acked/s"] >= values["complete/s"] > 0


def test_the_cost_is_told_for_every_process_and_adds_up(tables: dict[str, Any]) -> None:
    for values in rows(tables["ingest: CPU ns a metric by process"]).values():
        assert set(values) == OURS | {"pipeline", "generator", "elsewhere"}
        assert values["ingest"] > 0
        assert sum(values[name] for name in OURS) == pytest.approx(values["pipeline"])


def test_bytes_and_memory_are_told(tables: dict[str, Any]) -> None:
    for values in rows(tables["ingest: disk"]).values():
        assert 150 < values["B a metric, JSONL"] < 250
        assert values["B a metric, all"] >= values["B a metric, JSONL"]
        assert values["disk alone MB/s"] > 0
    memory = rows(tables["ingest: peak memory, MB"])
    assert memory["batches of 10,000: ingest"]["pss_mb"] > 10
    assert memory["batches of 10,000: whole pipeline"]["rss_mb"] > memory["batches of 10,000: ingest"]["rss_mb"]


def test_every_figure_says_what_was_measured_and_what_was_durable(tables: dict[str, Any]) -> None:
    for table in tables.values():
        assert table["measured"]
        assert "fsynced" in table["durable"]
