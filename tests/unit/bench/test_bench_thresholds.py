"""Figures pass, fail or were not measured; the limits that are shipped name benchmarks that exist."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import thresholds
from bench.command import NAMES
from bench.figures import Result
from bench.thresholds import FAILED, PASSED, SKIPPED, BadThresholds, judge, load


def limits(tmp_path: Path, *entries: dict[str, object]) -> list[thresholds.Limit]:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps({"thresholds": entries}))
    return load(path)


def results() -> list[Result]:
    made = Result("ingest", "load", "fsynced", 1)
    made.add("ours", **{"complete/s": 900.0, "lost": 0.0})
    made.add("theirs", **{"complete/s": 300.0, "version": "1.79"})
    return [made]


FIGURE = {"benchmark": "ingest", "what": "ours", "column": "complete/s"}
THEIRS = {"benchmark": "ingest", "what": "theirs", "column": "complete/s"}


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ({"at_least": 900}, PASSED),
        ({"at_least": 901}, FAILED),
        ({"at_most": 900}, PASSED),
        ({"at_most": 899}, FAILED),
        ({"at_least": 1, "at_most": 899}, FAILED),
        ({"at_least": 3, "over": THEIRS}, PASSED),
        ({"at_least": 3.1, "over": THEIRS}, FAILED),
        ({"at_least": 3, "over": THEIRS | {"what": "nobody"}}, SKIPPED),
        ({"at_least": 1, "column": "else"}, SKIPPED),
        ({"at_least": 1, "what": "theirs", "column": "version"}, SKIPPED),
    ],
)
def test_a_limit_is_judged_by_the_figure_that_it_names(tmp_path: Path, bounds: dict[str, object], verdict: str) -> None:
    (one,) = judge(results(), limits(tmp_path, FIGURE | bounds))
    assert one.verdict == verdict


@pytest.mark.parametrize(
    "entry", [FIGURE, {"benchmark": "ingest", "at_least": 1}, FIGURE | {"at_least": 1, "over": {"what": "x"}}]
)
def test_a_limit_without_a_bound_or_a_figure_is_refused(tmp_path: Path, entry: dict[str, object]) -> None:
    with pytest.raises(BadThresholds):
        limits(tmp_path, entry)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text("{")
    with pytest.raises(BadThresholds):
        load(path)


def test_the_shipped_limits_name_benchmarks_that_exist() -> None:
    for limit in load():
        assert limit.figure.benchmark.partition(":")[0].partition(" against ")[0] in NAMES
