"""Runs are kept and compared: ratios, and what is beyond the noise of the runs themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.figures import Result
from bench.history import BEYOND, UNKNOWN, WITHIN, append, changes, default_folder, earlier, record


def result(*runs: float, name: str = "ingest", what: str = "batches") -> Result:
    made = Result(name, "load", "fsynced", len(runs))
    made.add_runs(what, [{"complete/s": run} for run in runs])
    return made


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        ((100, 110, 120), (105, 112, 118), WITHIN),
        ((100, 110, 120), (121, 130, 140), BEYOND),
        ((100, 110, 120), (70, 80, 99), BEYOND),
        ((100, 110, 120), (120, 130, 140), WITHIN),
        ((100,), (300, 301), UNKNOWN),
        ((100, 101), (300,), UNKNOWN),
    ],
)
def test_a_change_is_beyond_noise_when_the_ranges_of_the_runs_do_not_touch(
    before: tuple[float, ...], now: tuple[float, ...], verdict: str
) -> None:
    kept = record([result(*before)], "2026-01-01T00:00:00.000+00:00", [])
    (change,) = changes([result(*now)], [kept])
    assert change.verdict == verdict


def test_a_ratio_is_of_the_medians_and_none_of_nothing() -> None:
    kept = record([result(100, 200, 900)], "2026-01-01T00:00:00.000+00:00", [])
    (change,) = changes([result(300, 300, 1)], [kept])
    assert (change.before, change.now, change.ratio) == (200, 300, 1.5)
    (zero,) = changes([result(1.0)], [record([result(0.0)], "2026-01-01T00:00:00.000+00:00", [])])
    assert zero.ratio is None


def test_each_figure_is_compared_with_the_newest_run_that_has_it(tmp_path: Path) -> None:
    for day, results in enumerate([[result(1.0)], [result(2.0)], [result(3.0, name="latency")]], start=1):
        append(record(results, f"2026-01-0{day}T00:00:00.000+00:00", ["ingest"]), tmp_path)
    machine_id = record([], "2026-01-01T00:00:00.000+00:00", [])["machine"]["id"]
    runs = earlier(tmp_path, machine_id)
    assert [change.before for change in changes([result(9.0), result(9.0, what="rows")], runs)] == [2.0]
    assert earlier(tmp_path, "another") == []


def test_a_broken_file_among_the_runs_is_passed_over(tmp_path: Path) -> None:
    kept = record([result(1.0)], "2026-01-01T00:00:00.000+00:00", [])
    append(kept, tmp_path)
    (tmp_path / f"2027-{kept['machine']['id']}.json").write_text("{torn")
    assert len(earlier(tmp_path, kept["machine"]["id"])) == 1


def test_runs_are_kept_in_the_users_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "perfmon" / "bench"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_folder() == Path.home() / ".local/state/perfmon/bench"


def test_a_kept_run_says_when_on_what_and_by_which_code(tmp_path: Path) -> None:
    kept = record([result(1.0, 2.0)], "2026-01-01T00:00:00.000+00:00", ["ingest", "--runs", "2"])
    assert set(kept) == {"at", "machine", "code", "arguments", "results"}
    assert {"id", "cores", "cpu", "platform", "python"} <= set(kept["machine"])
    assert {"version", "commit", "changed"} == set(kept["code"])
    assert kept["results"][0]["figures"][0]["runs"] == {"complete/s": [1.0, 2.0]}
