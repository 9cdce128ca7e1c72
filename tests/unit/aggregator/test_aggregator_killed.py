"""The aggregator killed anywhere neither loses nor doubles a call."""

from __future__ import annotations

import shutil
import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmon.paths import DataDirectory
from services.aggregator.core.tiers import HOUR, Node
from shared.timespan import HOUR_MS, iso
from tests.unit.aggregator.aggregator_kit import MIDNIGHT, Aggregator, call, files_of, matches, total
from tests.unit.aggregator.naive import Call, calls


class Killed(BaseException):
    """kill -9, between two steps."""


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            calls(-26 * HOUR_MS, 26 * HOUR_MS, max_size=5, min_size=1),
            st.sampled_from(["save", "kill", "settle", "ask"]),
        ),
        max_size=12,
    )
)
def test_killed_between_any_two_steps_every_committed_call_counts_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    data = DataDirectory(tmp_path_factory.mktemp("killed"))
    data.create()
    try:
        aggregator = Aggregator(data)
        committed: list[Call] = []
        for step in steps:
            if isinstance(step, list):
                aggregator.commit(*step)
                committed += step
            elif step == "ask":
                matches(aggregator.rows(), committed)
            else:
                getattr(aggregator, step)()
        matches(aggregator.rows(), committed)
        aggregator.kill()
        matches(aggregator.rows(), committed)
        aggregator.settle()
        aggregator.kill()
        matches(aggregator.rows(), committed)
        for name in files_of(data.daily):
            day = [c for c in committed if iso(c.ts)[:10] == name[:10]]
            assert total(data.daily, name) == len(day)
        aggregator.state.database.close()
    finally:
        shutil.rmtree(data.runtime, ignore_errors=True)
        shutil.rmtree(data.root)


@pytest.mark.parametrize("late", [False, True])
def test_killed_after_the_file_and_before_its_mark_goes_the_file_is_written_again(
    aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    aggregator.commit(call(MIDNIGHT), call(MIDNIGHT + HOUR_MS))
    if late:
        aggregator.settle()
        aggregator.commit(call(MIDNIGHT + 1))
    aggregator.save(now_ms=0)

    def die(node: Node) -> None:
        raise Killed

    monkeypatch.setattr(aggregator.state.database, "file_written", die)
    with pytest.raises(Killed):
        aggregator.settle()
    assert total(aggregator.data.hourly, "2024-02-29-00.json") == 1 + late
    aggregator.kill()
    assert Node(HOUR, MIDNIGHT) in aggregator.state.memory.stale
    aggregator.settle()
    assert total(aggregator.data.hourly, "2024-02-29-00.json") == 1 + late
    assert total(aggregator.data.daily, "2024-02-29.json") == 2 + late
    assert aggregator.state.memory.stale == set()
    assert aggregator.rollup()["total"]["count"] == 2 + late


def test_killed_after_late_rows_of_a_held_hour_were_written_they_do_not_count_twice(
    aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregator.commit(call(MIDNIGHT))
    aggregator.settle()
    state = aggregator.state
    state.memory.raise_floors(state.memory.floors._replace(minute_ms=MIDNIGHT + 5 * HOUR_MS))
    state.database.forget_minutes(0, MIDNIGHT + 5 * HOUR_MS)
    aggregator.save()
    aggregator.commit(call(MIDNIGHT + 1))
    aggregator.save(now_ms=0)
    assert state.memory.held == {Node(HOUR, MIDNIGHT)}

    def die(node: Node) -> None:
        raise Killed

    monkeypatch.setattr(state.database, "file_written", die)
    with pytest.raises(Killed):
        aggregator.settle()
    assert total(aggregator.data.hourly, "2024-02-29-00.json") == 2
    aggregator.kill()
    aggregator.commit(call(MIDNIGHT + 2))
    aggregator.settle()
    assert aggregator.state.memory.held == set()
    assert total(aggregator.data.hourly, "2024-02-29-00.json") == 3
    assert total(aggregator.data.daily, "2024-02-29.json") == 3


def test_a_save_that_fails_stores_nothing_and_loses_nothing(
    aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregator.commit(call(MIDNIGHT))
    real = aggregator.state.database.put_blocks

    def full(blocks: dict[Node, Any]) -> None:
        real(blocks)
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(aggregator.state.database, "put_blocks", full)
    with pytest.raises(sqlite3.OperationalError):
        aggregator.save()
    assert aggregator.asked_for_cleanup == ["disk full"]
    monkeypatch.undo()
    aggregator.save()
    aggregator.kill()
    assert aggregator.rollup()["total"]["count"] == 1
