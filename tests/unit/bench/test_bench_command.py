"""What the command line takes and refuses, and the exit codes, with a benchmark that does nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import command, victoria_metrics
from bench.figures import Result
from bench.options import Options


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the stand-in for `ingest` and `footprint` was asked for."""
    seen: list[Any] = []

    def run(options: Options | int) -> Result:
        seen.append(options)
        result = Result("ingest", "nothing", "nothing", 1)
        result.add("batches of 10,000", **{"complete/s": 5.0})
        return result

    monkeypatch.setattr(command, "import_module", lambda _: SimpleNamespace(run=run))
    return seen


def test_options_reach_the_benchmark(asked: list[Any], tmp_path: Path) -> None:
    words = ["ingest", "--runs", "2", "--seconds", "3", "--batch", "100,200", "--rate", "5", "--window-mb", "1"]
    assert command.main([*words, "--only", "rows", "--history", str(tmp_path)]) == 0
    (options,) = asked
    assert options == Options(
        runs=2, seconds=3, batch=100, batches=(100, 200), rate=5, only=("rows",), window_bytes=2**20
    )


def test_a_benchmark_without_options_gets_the_number_of_runs(asked: list[Any], tmp_path: Path) -> None:
    assert command.main(["footprint", "--runs", "2", "--history", str(tmp_path)]) == 0
    assert asked == [2]


def test_without_names_all_run_and_a_quick_run_is_one_and_not_kept(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert command.main(["--quick"]) == 0
    assert len(asked) >= 6
    assert asked[0].runs == 1
    assert asked[0].quick
    assert list(tmp_path.iterdir()) == []


def test_runs_are_kept_and_written(asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ingest", "--history", str(tmp_path / "runs"), "--json", str(tmp_path / "out.json"), "--compare"]
    assert command.main(words) == 0
    assert "No earlier run" in capsys.readouterr().out
    assert command.main(words) == 0
    assert "compared with the last run" in capsys.readouterr().out
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert json.loads((tmp_path / "out.json").read_text())["results"][0]["figures"][0]["values"] == {"complete/s": 5.0}
    assert len(asked) == 2


def test_a_figure_below_its_threshold_fails_the_check_alone(asked: list[Any], tmp_path: Path) -> None:
    assert command.main(["ingest", "--quick"]) == 0
    assert command.main(["ingest", "--quick", "--check"]) == 1
    low = tmp_path / "low.json"
    limit = {"benchmark": "ingest", "what": "batches of 10,000", "column": "complete/s", "at_least": 1}
    low.write_text(json.dumps({"thresholds": [limit]}))
    assert command.main(["ingest", "--quick", "--check", "--thresholds", str(low)]) == 0
    assert len(asked) == 3


@pytest.mark.parametrize(
    "words",
    [["nope"], ["--runs", "0"], ["--seconds", "0"], ["--vs", "nobody"], ["--batch", "0"], ["--batch", "x"], ["--nope"]],
)
def test_what_is_not_understood_is_refused_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.main(words)
    assert left.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_system_that_is_not_installed_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(victoria_metrics, "binary", lambda: None)
    assert command.main(["ingest", "--quick", "--vs", "victoria-metrics"]) == 1
    assert "apt-get install victoria-metrics" in capsys.readouterr().err


def test_a_benchmark_that_fails_does_not_take_the_others_figures_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(options: Options | int) -> Result:
        if isinstance(options, Options):
            raise TimeoutError("the aggregator is behind 12")
        return Result("footprint", "nothing", "nothing", 1)

    monkeypatch.setattr(command, "import_module", lambda _: SimpleNamespace(run=run))
    assert command.main(["ingest", "footprint", "--quick", "--json", str(tmp_path / "out.json")]) == 1
    assert "ingest: the aggregator is behind 12" in capsys.readouterr().err
    assert [result["name"] for result in json.loads((tmp_path / "out.json").read_text())["results"]] == ["footprint"]
