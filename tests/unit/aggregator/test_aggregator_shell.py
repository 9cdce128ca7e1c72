"""Calls as they come: what cannot be folded touches nothing, and what is folded can be asked for at once."""

from __future__ import annotations

from typing import Any

import pytest

from shared.timespan import DAY_MS, MINUTE_MS
from tests.unit.aggregator.aggregator_kit import LATER, MIDNIGHT, Aggregator, call, files_of


def test_a_batch_that_cannot_be_folded_is_refused_before_it_touches_anything(aggregator: Aggregator) -> None:
    aggregator.commit(call(MIDNIGHT))
    with pytest.raises(ValueError, match="duration"):
        aggregator.commit(call(MIDNIGHT, float("nan")))
    aggregator.journal.pop()
    aggregator.kill()
    assert aggregator.rollup()["total"]["count"] == 1


def test_a_failure_halfway_through_folding_is_never_saved(
    aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregator.commit(call(MIDNIGHT), call(MIDNIGHT + MINUTE_MS))
    real = aggregator.state.memory.add

    def fail(minute_ms: int, block: Any) -> Any:
        if minute_ms != MIDNIGHT:
            raise MemoryError
        return real(minute_ms, block)

    monkeypatch.setattr(aggregator.state.memory, "add", fail)
    with pytest.raises(MemoryError):
        aggregator.rollup()
    assert aggregator.state.tick(0)
    with pytest.raises(MemoryError):
        aggregator.save()
    aggregator.kill()
    assert aggregator.rollup()["total"]["count"] == 2


def test_rows_of_the_future_are_kept_for_their_minute(aggregator: Aggregator) -> None:
    aggregator.commit(call(LATER + 9 * MINUTE_MS))
    aggregator.save(LATER)
    assert files_of(aggregator.data.hourly) == []
    assert aggregator.rollup(LATER, LATER + DAY_MS)["total"]["count"] == 1


def test_a_day_asked_for_while_it_goes_on_has_the_newest_calls(aggregator: Aggregator) -> None:
    for second in range(30):
        aggregator.commit(call(MIDNIGHT + second * 1000))
        assert aggregator.rollup(MIDNIGHT, MIDNIGHT + DAY_MS)["total"]["count"] == second + 1
        if second % 4 == 0:
            aggregator.save(now_ms=0)
