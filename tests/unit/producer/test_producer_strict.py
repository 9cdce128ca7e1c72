"""A strict producer refuses what ingest would, and nothing else; both are asked here."""

from __future__ import annotations

import time
from array import array
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from perfmon import Producer
from perfmon.producer.messages import build_message
from perfmon.producer.rows import Row
from perfmon.wire import OVERFLOW_NAME, limits
from services.ingest.core.door import let_in
from services.ingest.core.frames import read
from tests.fakes.fake_ingest import FakeIngest

NOW_MS = time.time_ns() // 1_000_000
HOUR_MS = 3_600_000

BAD: list[dict[str, Any]] = [
    {"server": ""},
    {"server": None},
    {"server": 5},
    {"server": OVERFLOW_NAME},
    {"tool": OVERFLOW_NAME},
    {"tool": b"t"},
    {"tool": "t" * 1_025},
    {"tool": "é" * 513},
    {"tool": "\ud800" * 1_000},
    {"duration_ms": -1},
    {"duration_ms": nan},
    {"duration_ms": inf},
    {"duration_ms": 10**10},
    {"duration_ms": 10**400},
    {"duration_ms": "1"},
    {"duration_ms": True},
    {"duration_ms": None},
    {"success": None},
    {"success": 1},
    {"success": "yes"},
    {"cpu": inf},
    {"cpu": -1},
    {"cpu": limits.MAX_CPU_PERCENT * 2},
    {"cpu": True},
    {"memory": "x"},
    {"memory": -0.5},
    {"disk_io": 1e16},
    {"disk_io": [1]},
    {"call_id": ""},
    {"call_id": "x" * 257},
    {"call_id": "é" * 129},
    {"call_id": 7},
    {"ts_ms": -5},
    {"ts_ms": 1.5},
    {"ts_ms": "2026"},
    {"ts_ms": 10**15},
    {"ts_ms": 2**70},
    {"ts_ms": True},
]
GOOD: list[dict[str, Any]] = [
    {},
    {"server": "s" * 1_024, "tool": "é" * 512},
    {"tool": "a file \udcff"},
    {"duration_ms": 0},
    {"duration_ms": limits.MAX_DURATION_MS},
    {"duration_ms": np.float32(1.5)},
    {"duration_ms": np.int64(3)},
    {"success": False, "error": ValueError("x")},
    {"success": False, "error": object()},
    {"cpu": 0, "memory": limits.MAX_MEMORY_MB, "disk_io": np.float64(5)},
    {"cpu": nan},
    {"call_id": "x" * 256},
    {"ts_ms": NOW_MS + 60_000},
    {"ts_ms": np.int64(NOW_MS)},
]


def _call(changed: dict[str, Any]) -> dict[str, Any]:
    return {"server": "s", "tool": "t", "duration_ms": 1.0} | changed


def _stored(rows: list[Row]) -> int:
    """How many of these rows ingest takes."""
    message = build_message(rows)
    if not message.rows:
        return 0
    # Rows without a time of their own have that of the call, which may be long after NOW_MS.
    arrival = let_in(*read(message.frame(None, 0)), time.time_ns() // 1_000_000, NOW_MS - HOUR_MS)
    return arrival.rows - arrival.refused.total


def _recorded(endpoint: str, changed: dict[str, Any]) -> Row:
    """The row as a producer that is not strict keeps it."""
    producer = Producer(endpoint=endpoint)
    producer._buffer.attended = True
    producer.record(**_call(changed))
    taken = producer._buffer.take(1, 1)
    assert taken is not None
    producer.close(0.0)
    return taken.items[0]  # type: ignore[return-value] # a row


@pytest.mark.parametrize("copies", [1, 20], ids=["as rows", "as columns"])
@pytest.mark.parametrize("changed", BAD, ids=lambda changed: " ".join(changed) or "nothing")
def test_what_is_wrong_is_refused_by_both(endpoint: str, changed: dict[str, Any], copies: int) -> None:
    producer = Producer(endpoint=endpoint, strict=True)
    with pytest.raises(ValueError, match=next(iter(changed))):
        producer.record(**_call(changed))
    assert producer.stats().recorded_total == 0
    assert _stored([_recorded(endpoint, changed)] * copies) == 0


@pytest.mark.parametrize("copies", [1, 20], ids=["as rows", "as columns"])
@pytest.mark.parametrize("changed", GOOD, ids=lambda changed: " ".join(changed) or "nothing")
def test_what_is_right_is_taken_by_both(endpoint: str, changed: dict[str, Any], copies: int) -> None:
    producer = Producer(endpoint=endpoint, strict=True)
    producer._buffer.attended = True
    producer.record(**_call(changed))
    assert producer.stats().recorded_total == 1
    producer.close(0.0)
    assert _stored([_recorded(endpoint, changed)] * copies) == copies


def test_a_batch_names_its_series_and_calls_rightly(ingest: FakeIngest, endpoint: str) -> None:
    columns: dict[str, Any] = {"series": array("H", [0]), "duration_ms": array("d", [1.0]), "ok": [True]}
    with Producer(endpoint=endpoint, strict=True) as producer:
        for dictionary in ([("b", None)], [("", "t")], [("s", OVERFLOW_NAME)], [("s", "t" * 1_025)]):
            with pytest.raises(ValueError, match=r"text|tool|server"):
                producer.record_batch(dictionary, **columns)
        with pytest.raises(ValueError, match="call_id"):
            producer.record_batch([("s", "t")], **columns, call_ids={0: "x" * 257})
        assert producer.record_batch([("s", "t")], **columns) == 1
    with pytest.raises(RuntimeError, match="closed"):
        producer.record_batch([("s", "t")], **columns)


def test_a_name_that_is_no_text_makes_no_tool_of_its_repr(endpoint: str) -> None:
    producer = Producer(endpoint=endpoint)
    assert producer.record_batch([("b", None)], series=[0], duration_ms=[1.0], ok=[True]) == 0  # type: ignore[list-item] # refused
    assert producer.stats().rejected_total == 1
    producer.close(0.0)
