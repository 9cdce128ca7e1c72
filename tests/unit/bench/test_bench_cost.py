"""CPU time a metric, when processes come and go while it is measured."""

from __future__ import annotations

from bench.ingest import _cost


def test_a_process_that_ended_meanwhile_costs_nothing_rather_than_less() -> None:
    cost = _cost({"ingest": 1.0, "rest": 3.0}, {"ingest": 2.0, "rest": 0.5}, 2.0, 0.5, 1_000)
    assert cost["rest"] == 0.0
    assert cost["ingest"] == cost["pipeline"] == 1e6
    assert min(cost.values()) >= 0
