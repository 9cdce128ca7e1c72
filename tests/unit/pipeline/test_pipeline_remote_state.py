"""What is told of the port for producers off the machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from perfmon.cli.lifecycle import described
from perfmon.paths import DataDirectory
from perfmon.pipeline import remote_state as subject
from perfmon.pipeline.remote_state import RemoteState, remote_state
from perfmon.pipeline.report import PipelineReport

WISHED = {"remote": {"endpoint": "tcp://0.0.0.0:7078", "gatePid": 5}}


def gate_says(monkeypatch: pytest.MonkeyPatch, stats: Mapping[str, Any] | None, *, ready: bool = True) -> None:
    def asked(_: DataDirectory, method: str, __: tuple[str, ...]) -> dict[str, Mapping[str, Any]]:
        if stats is None:
            return {}
        return {"ingest.gate": stats if method == "stats" else {"ready": ready}}

    monkeypatch.setattr(subject, "ask_all", asked)


def test_a_gate_that_listens_is_told_with_its_connections(
    data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate_says(monkeypatch, {"connections": 2, "listed": 3})
    assert str(remote_state(data_directory, WISHED)) == "tcp://0.0.0.0:7078 listening, 2 connected, 3 keys listed"


def test_a_gate_that_cannot_listen_or_does_not_answer_is_told(
    data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate_says(monkeypatch, {"connections": 0, "listed": 3}, ready=False)
    assert "cannot listen" in str(remote_state(data_directory, WISHED))
    gate_says(monkeypatch, None)
    assert remote_state(data_directory, WISHED) == RemoteState("tcp://0.0.0.0:7078", "does not answer")


@pytest.mark.parametrize("stats", [{}, {"remote": {"endpoint": "off"}}, {"remote": None}])
def test_without_a_port_nothing_is_told(data_directory: DataDirectory, stats: Mapping[str, Any]) -> None:
    assert remote_state(data_directory, stats) is None


def test_up_tells_of_the_port(data_directory: DataDirectory) -> None:
    report = PipelineReport("running", data_directory.root, 1, "1", {}, tcp="tcp://0.0.0.0:7078 listening")
    assert "  TCP       tcp://0.0.0.0:7078 listening" in described(report, 1.0)
