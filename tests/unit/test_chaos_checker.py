"""The checker of the chaos suite sees what it is there for: a metric that is missing, twice, changed, misplaced or unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from perfmon.paths import DataDirectory
from tests.chaos.acknowledged_load import Load
from tests.chaos.checker import Verdict, check_files
from tests.chaos.numbered import OVERFLOW, line_of, path_of

TS_MS = 1_761_915_600_123
COUNT = 200


@pytest.fixture
def load(data_directory: DataDirectory) -> Load:
    """A load that had COUNT metrics acknowledged and stored."""
    made = Load(data_directory, 1, moment=lambda number, _: TS_MS + number)
    while made.sent_total < COUNT:
        made._next()
    made.acknowledged.update(range(1, made.sent_total + 1))
    for number in made.acknowledged:
        path = data_directory.metrics / path_of(made.ts_of(number), made.pair_of(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(line_of(number, made.ts_of(number), made.pair_of(number))) + "\n")
    return made


def first_file(data: DataDirectory) -> Path:
    return min(data.metrics.rglob("*.jsonl"))


def changed(data: DataDirectory, change: Callable[[list[str]], list[str]]) -> None:
    path = first_file(data)
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def found(verdict: Verdict) -> tuple[int, int, int]:
    return len(verdict.lost), len(verdict.doubled), verdict.unparsable


def test_a_store_that_holds_what_was_acknowledged_is_clean(data_directory: DataDirectory, load: Load) -> None:
    check_files(data_directory, load).assert_clean()


def test_a_missing_line_is_a_lost_metric(data_directory: DataDirectory, load: Load) -> None:
    changed(data_directory, lambda lines: lines[1:])
    verdict = check_files(data_directory, load)
    assert found(verdict) == (1, 0, 0)
    with pytest.raises(AssertionError, match="lost"):
        verdict.assert_clean()


def test_a_line_twice_is_a_doubled_metric(data_directory: DataDirectory, load: Load) -> None:
    changed(data_directory, lambda lines: [lines[0], *lines])
    assert found(check_files(data_directory, load)) == (0, 1, 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"cpu":', '"gpu":'),
        ("13:00:00", "13:00:01"),
        ("true", "false"),
        ('"error": null', '"error": ""'),
        ("chaos-a", "chaos-b"),
    ],
)
def test_any_changed_value_is_seen(data_directory: DataDirectory, load: Load, old: str, new: str) -> None:
    changed(data_directory, lambda lines: [lines[0].replace(old, new), *lines[1:]])
    assert found(check_files(data_directory, load)) == (1, 0, 1)


def test_a_torn_line_is_seen(data_directory: DataDirectory, load: Load) -> None:
    changed(data_directory, lambda lines: [*lines[:-1], lines[-1][:40]])
    assert found(check_files(data_directory, load)) == (1, 0, 1)


def test_a_metric_in_the_file_of_another_day_is_seen(data_directory: DataDirectory, load: Load) -> None:
    path = first_file(data_directory)
    moved = data_directory.metrics / "2025-10-30" / path.parent.name / path.name
    moved.parent.mkdir(parents=True)
    path.rename(moved)
    assert check_files(data_directory, load).unparsable == len(load.acknowledged) // 4


def test_a_metric_that_was_never_sent_is_seen(data_directory: DataDirectory, load: Load) -> None:
    changed(data_directory, lambda lines: [*lines, json.dumps(line_of(10**6, TS_MS, load.pair_of(4))) + "\n"])
    with pytest.raises(AssertionError, match="never sent"):
        check_files(data_directory, load).assert_clean()


def test_a_forgotten_metric_may_be_missing_but_not_come_back(data_directory: DataDirectory, load: Load) -> None:
    of_the_file = {number for number in load.acknowledged if load.pair_of(number) == load.pair_of(4)}
    assert any("came back" in one for one in check_files(data_directory, load, gone=of_the_file).complaints)
    first_file(data_directory).unlink()
    check_files(data_directory, load, gone=of_the_file).assert_clean()
    assert len(check_files(data_directory, load).lost) == len(of_the_file)


def test_a_metric_may_lie_in_overflow_only_where_that_is_allowed(data_directory: DataDirectory, load: Load) -> None:
    number, ts_ms = 4, load.ts_of(4)
    changed(data_directory, lambda lines: [one for one in lines if json.loads(one)["duration"] * 8 != number])
    path = data_directory.metrics / path_of(ts_ms, OVERFLOW)
    path.parent.mkdir()
    path.write_text(json.dumps(line_of(number, ts_ms, OVERFLOW)) + "\n")
    check_files(data_directory, load, may_overflow=True).assert_clean()
    assert found(check_files(data_directory, load)) == (1, 0, 1)
