"""`perfmon explain` asks the detector, helps it out with rollups, and dresses the answer for the terminal there is."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
from typer.testing import CliRunner

from perfmon.cli import explain
from perfmon.cli.app import build
from perfmon.rpc import RpcError, Unavailable

FOUND: dict[str, Any] = {
    "anomaly": {"id": "anomaly-20251031-1f3a5c7e9b2d", "severity": "critical", "startTs": 5, "mcpServer": "files"},
    "explanation": {"part": "calls", "chart": []},
    "text": ["anomaly-20251031-1f3a5c7e9b2d  critical", "“read” of “files” became slow"],
    "wanted": None,
}
WANTED = {
    "startMs": 0,
    "endMs": 120_000,
    "mcpServer": "files",
    "toolName": "read",
    "field": "max",
    "metric": "response_time",
}

Answers = Callable[[str, str, dict[str, Any]], Any]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answers], list[tuple[str, str, dict[str, Any]]]]:
    """Set what services answer; what they were asked is in the list that comes back."""

    def install(answers: Answers) -> list[tuple[str, str, dict[str, Any]]]:
        calls: list[tuple[str, str, dict[str, Any]]] = []

        class Client:
            def __init__(self, endpoint: str, *, timeout_s: float) -> None:
                self.service = endpoint.rsplit("/", 1)[-1].removesuffix(".sock")

            def call(self, method: str, params: dict[str, Any]) -> Any:
                calls.append((self.service, method, params))
                return answers(self.service, method, params)

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                pass

        monkeypatch.setattr(explain, "RpcClient", Client)
        return calls

    return install


def run(data: Path, *arguments: str) -> Any:
    return CliRunner().invoke(build(), ["explain", *arguments, "--data", str(data)])


def test_the_detectors_text_is_printed_as_it_is_without_colours(tmp_path: Path, asked: Any) -> None:
    calls = asked(lambda *_: FOUND)
    result = run(tmp_path)
    assert (result.exit_code, result.stdout.splitlines()) == (0, FOUND["text"])
    assert calls[0][1:] == ("explain", {"id": "latest", "width": 100, "ascii": False})


def test_the_alerts_that_name_the_anomaly_are_told_before_what_to_do(tmp_path: Path, asked: Any) -> None:
    alert = {"alertId": "alert-1", "severity": "warning", "status": "active", "condition": "cpu > 50%\x1b[2J"}
    found = FOUND | {"text": ["head", "do 1      look", "chart"]}

    def answers(service: str, method: str, params: dict[str, Any]) -> Any:
        if method != "alerts.history":
            return found
        assert (params["mcpServer"], params["startMs"]) == ("files", 5)
        named = alert | {"anomalyIds": ["anomaly-0", FOUND["anomaly"]["id"]]}
        return {"alerts": [alert | {"anomalyIds": []}, named], "total": 2}

    asked(answers)
    assert run(tmp_path).stdout.splitlines() == [
        "head",
        "alert     alert-1 (warning, active): cpu > 50%?[2J",
        "do 1      look",
        "chart",
    ]
    (told,) = json.loads(run(tmp_path, "--json").stdout)["alerts"]
    assert told["alertId"] == "alert-1"


def test_json_is_for_programs(tmp_path: Path, asked: Any) -> None:
    asked(lambda *_: FOUND)
    assert json.loads(run(tmp_path, "anomaly-2025", "--json").stdout) == {
        "anomaly": FOUND["anomaly"],
        "explanation": FOUND["explanation"],
        "alerts": [],
    }


def test_an_old_anomalys_minutes_come_from_the_rollups(tmp_path: Path, asked: Any) -> None:
    rows = [{"ts": 0, "max": 12.0}, {"ts": 60_000, "max": None}]

    def answers(service: str, _: str, params: dict[str, Any]) -> Any:
        if service.startswith("aggregator"):
            return {"rows": rows}
        return FOUND | ({} if "points" in params else {"wanted": WANTED})

    calls = asked(answers)
    assert run(tmp_path).exit_code == 0
    assert [method for _, method, _ in calls] == ["explain", "rollup", "explain", "alerts.history"]
    assert calls[1][2]["groupBy"] == "minute"
    assert (calls[2][2]["id"], calls[2][2]["points"]) == (FOUND["anomaly"]["id"], [(0, 12.0)])


def test_without_an_aggregator_there_is_an_explanation_without_a_chart(tmp_path: Path, asked: Any) -> None:
    def answers(service: str, method: str, _: dict[str, Any]) -> Any:
        if service.startswith("aggregator"):
            raise Unavailable(service, method, 1.0)
        return FOUND | {"wanted": WANTED}

    asked(answers)
    assert run(tmp_path).exit_code == 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unavailable("x/detector", "explain", 5.0), "perfmon up"),
        (RpcError("starting", "the detector is still reading its history"), "still reading"),
        (
            RpcError(
                "unknown_anomaly",
                "no anomaly is called x",
                {"nearest": [{"id": "anomaly-1", "anomalyType": "t", "mcpServer": "s", "toolName": "n"}]},
            ),
            "the nearest:\n  anomaly-1  t  s / n",
        ),
    ],
)
def test_what_cannot_be_explained_is_said_and_exits_1(tmp_path: Path, asked: Any, error: RpcError, said: str) -> None:
    def answers(*_: object) -> Any:
        raise error

    asked(answers)
    result = run(tmp_path, "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_the_first_line_is_coloured_on_a_terminal_unless_asked_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", shown := Terminal())
    explain._print(FOUND)
    assert shown.getvalue().startswith("\x1b[31m\x1b[1manomaly-")
    assert shown.getvalue().endswith("\x1b[0m\n“read” of “files” became slow\n")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", plain := Terminal())
    explain._print(FOUND)
    assert "\x1b" not in plain.getvalue()


def test_a_terminal_decides_how_wide_and_with_which_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "64")
    assert explain._width() == 64
    monkeypatch.setenv("COLUMNS", "4")
    assert explain._width() == explain.LEAST_WIDTH
    assert explain._has_blocks()
    terminal.encoding = "latin-1"
    assert not explain._has_blocks()
