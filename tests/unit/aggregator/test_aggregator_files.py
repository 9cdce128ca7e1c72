"""The files of hours and days: written when they are over, again for late calls, and not believed when damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.aggregator.core.schedule import GRACE_MS, RETRY_MS
from services.aggregator.core.tiers import HOUR, Node
from services.aggregator.shell.files import AggregateFiles
from shared.timespan import DAY_MS, HOUR_MS
from tests.unit.aggregator.aggregator_kit import LATER, MIDNIGHT, Aggregator, call, files_of, total


def test_files_are_written_when_their_hour_and_day_are_over_and_again_for_late_rows(aggregator: Aggregator) -> None:
    aggregator.commit(call(MIDNIGHT + 5, 10.0), call(MIDNIGHT + HOUR_MS, 20.0), call(MIDNIGHT - 1, 30.0))
    aggregator.settle(MIDNIGHT + HOUR_MS + GRACE_MS - 1)
    assert files_of(aggregator.data.hourly) == ["2024-02-28-23.json"]
    aggregator.settle(MIDNIGHT + HOUR_MS + GRACE_MS)
    assert files_of(aggregator.data.hourly) == ["2024-02-28-23.json", "2024-02-29-00.json"]
    assert files_of(aggregator.data.daily) == ["2024-02-28.json"]
    aggregator.settle(LATER)
    assert files_of(aggregator.data.daily) == ["2024-02-28.json", "2024-02-29.json"]
    aggregator.commit(call(MIDNIGHT + 6, 40.0))
    assert aggregator.rollup(MIDNIGHT, MIDNIGHT + DAY_MS)["total"]["count"] == 3
    aggregator.settle()
    assert total(aggregator.data.hourly, "2024-02-29-00.json") == 2
    assert total(aggregator.data.daily, "2024-02-29.json") == 3
    assert total(aggregator.data.daily, "2024-02-28.json") == 1
    assert {path.stat().st_mode & 0o777 for path in aggregator.data.hourly.iterdir()} == {0o600}


def test_a_file_that_cannot_be_written_is_tried_again_and_answers_do_not_miss_it(
    aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregator.commit(call(MIDNIGHT))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(aggregator.state.files, "write", full)
    aggregator.save(LATER)
    assert aggregator.state.write_failures_total == 1
    assert aggregator.asked_for_cleanup == ["disk full"]
    assert not aggregator.state.tick(LATER + RETRY_MS - 1)
    assert aggregator.rollup()["total"]["count"] == 1
    monkeypatch.undo()
    aggregator.settle(LATER + RETRY_MS)
    assert total(aggregator.data.daily, "2024-02-29.json") == 1


@pytest.mark.parametrize("damage", ["missing", "junk", "array of junk", "link", "folder", "pipe"])
def test_a_file_that_is_damaged_or_replaced_is_told_from_its_minutes(aggregator: Aggregator, damage: str) -> None:
    import os

    aggregator.commit(call(MIDNIGHT), call(MIDNIGHT + 1), call(MIDNIGHT + HOUR_MS))
    aggregator.settle()
    path = aggregator.data.hourly / "2024-02-29-00.json"
    other = aggregator.data.root / "other.json"
    path.rename(other)
    if damage == "junk":
        path.write_text("{")
    elif damage == "link":
        path.symlink_to(other)
    elif damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    elif damage == "array of junk":
        path.write_text("[[], 5]")
    aggregator.kill()
    found = aggregator.rollup(MIDNIGHT, MIDNIGHT + HOUR_MS)["total"]["count"]
    # An array without a sound object is a readable file: it says that nothing happened.
    assert found == (0 if damage == "array of junk" else 2)
    assert aggregator.state.files.bad_files_total == (damage == "junk")
    assert aggregator.state.files.skipped_objects_total == (2 if damage == "array of junk" else 0)


def test_a_linked_folder_of_aggregates_is_not_followed(aggregator: Aggregator, tmp_path: Path) -> None:
    aggregator.commit(call(MIDNIGHT))
    aggregator.settle()
    outside = tmp_path / "outside"
    aggregator.data.hourly.rename(outside)
    aggregator.data.hourly.symlink_to(outside)
    files = AggregateFiles(aggregator.data)
    assert files.read(Node(HOUR, MIDNIGHT), aggregator.state.registry) is None
    assert files.nodes(HOUR) == []
