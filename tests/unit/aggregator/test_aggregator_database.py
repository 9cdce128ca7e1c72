"""The aggregator's database after a restart, and one that somebody spoiled."""

from __future__ import annotations

import sqlite3

import pytest

from shared.timespan import MINUTE_MS
from tests.unit.aggregator.aggregator_kit import MIDNIGHT, Aggregator, call, files_of


def test_names_and_last_moments_are_known_after_a_restart(aggregator: Aggregator) -> None:
    for second in range(0, 150, 7):
        aggregator.commit(call(MIDNIGHT + second * 1000), call(MIDNIGHT, tool="ünï\0\n"))
        aggregator.save()
    aggregator.kill()
    assert aggregator.state.registry.listed() == [["a", "b", MIDNIGHT + 147_000], ["a", "ünï\0\n", MIDNIGHT]]


@pytest.mark.parametrize(
    "harm",
    [
        "CREATE TRIGGER t AFTER INSERT ON minutes BEGIN DELETE FROM minutes; END",
        "UPDATE meta SET value = 'x' WHERE key = 'seq'",
        "UPDATE meta SET value = '1,2' WHERE key = 'floors'",
        "UPDATE series SET server = x'00ff'",
        "UPDATE series SET last_ts = 'soon'",
        "INSERT INTO stale VALUES (0, 5)",
        "INSERT INTO hours VALUES (-1, x'00')",
        "PRAGMA user_version = 99",
    ],
)
def test_a_database_that_makes_no_sense_is_set_aside(aggregator: Aggregator, harm: str) -> None:
    aggregator.commit(call(MIDNIGHT))
    aggregator.save(now_ms=0)
    aggregator.state.database.close()
    path = aggregator.data.state / "aggregator.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(harm)
    connection.close()
    aggregator.start()
    assert aggregator.epoch == "e"
    assert aggregator.rollup()["total"]["count"] == 1
    assert any("unusable" in name for name in files_of(aggregator.data.state))


def test_a_minute_that_is_no_block_is_counted_and_passed_over(aggregator: Aggregator) -> None:
    aggregator.commit(call(MIDNIGHT), call(MIDNIGHT + MINUTE_MS))
    aggregator.save(now_ms=0)
    aggregator.state.database.close()
    connection = sqlite3.connect(aggregator.data.state / "aggregator.db", isolation_level=None)
    connection.execute("UPDATE minutes SET body = 'x' WHERE start_ms = ?", (MIDNIGHT,))
    connection.close()
    aggregator.start()
    assert aggregator.rollup()["total"]["count"] == 1
    assert aggregator.state.database.bad_rows_total >= 1
