"""A JSONL line is the seed's line, and every value reads back equal."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.lines import Formatter, files_of
from services.ingest.core.placement import Placement
from shared.batch import Batch, Series, build
from shared.timespan import DAY_MS, iso

TS = 1_761_915_600_123


def placed(batch: Batch) -> Batch:
    return Placement(1_000).place(batch)


def text_of(batch: Batch) -> str:
    return b"".join(lines.data for lines in Formatter().lines_of(placed(batch))).decode()


def record_of(batch: Batch) -> dict[str, Any]:
    text = text_of(batch)
    assert text.endswith("\n")
    assert text.count("\n") == 1
    found: dict[str, Any] = json.loads(text)
    return found


def one(duration: float = 1.0, **columns: Any) -> Batch:
    return build([("s", "t", TS, duration, True)], **columns)


def test_a_line_is_the_seeds_line_byte_for_byte() -> None:
    batch = build(
        [("project-management-mcp", "create_potential_goal", TS, 150.0, True)], cpu=[15.5], memory=[128], disk_io=[1024]
    )
    assert text_of(batch) == (
        '{"timestamp":"2025-10-31T13:00:00.123Z","mcpServer":"project-management-mcp","toolName":"create_potential_goal",'
        '"duration":150,"success":true,"error":null,"resource":{"cpu":15.5,"memory":128,"diskIO":1024}}\n'
    )


def test_what_was_not_measured_is_null() -> None:
    assert '"resource":null}' in text_of(one())
    nan = [math.nan]
    assert '"resource":null}' in text_of(one(cpu=nan, memory=nan, disk_io=nan))
    assert '"resource":{"cpu":0,"memory":null,"diskIO":null}}' in text_of(one(cpu=[0.0], memory=nan))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (150.0, "150"),
        (0.0, "0"),
        (0.1, "0.1"),
        (0.001, "0.001"),
        (1e-7, "1e-07"),
        (5e-324, "5e-324"),
        (1e9, "1000000000"),
        (1e22, "1e+22"),
        (2.0**53 + 2, "9007199254740994"),
        (123456.789, "123456.789"),
        (-0.0, "-0.0"),
    ],
)
def test_a_number_prints_as_its_shortest_text(value: float, text: str) -> None:
    line = text_of(one(value))
    assert f'"duration":{text},' in line
    parsed = json.loads(line)["duration"]
    assert parsed == value
    assert math.copysign(1, parsed) == math.copysign(1, value)


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False), st.floats(min_value=0, max_value=1e15))
def test_every_number_reads_back_equal(duration: float, measured: float) -> None:
    record = record_of(one(duration, cpu=[measured], memory=[duration], disk_io=[measured]))
    assert record["duration"] == duration
    assert record["resource"] == {"cpu": measured, "memory": duration, "diskIO": measured}


_text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


@given(_text, _text, st.none() | _text, st.none() | _text, st.integers(0, 253_402_300_799_999))
def test_every_text_and_time_reads_back_equal(
    server: str, tool: str, error: str | None, call_id: str | None, ts: int
) -> None:
    batch = build([(server, tool, ts, 1.0, error is None)])
    if error is not None:
        batch.errors[0] = error
    if call_id is not None:
        batch.call_ids[0] = call_id
    record = record_of(batch)
    assert (record["mcpServer"], record["toolName"]) == (server, tool)
    assert (record["error"], record.get("callId")) == (error, call_id)
    assert record["timestamp"] == iso(ts)
    assert record["success"] is (error is None)
    assert list(record)[:7] == ["timestamp", "mcpServer", "toolName", "duration", "success", "error", "resource"]


def test_a_call_id_stands_after_the_seeds_fields() -> None:
    batch = build([("s", "t", TS, 1.0, False), ("s", "t", TS, 2.0, True)])
    batch.call_ids[1] = 'to"olu'
    batch.errors[0] = "line\nbreak\x00\u2028"
    first, second = text_of(batch).rstrip("\n").split("\n")
    assert first.endswith('"success":false,"error":"line\\nbreak\\u0000\u2028","resource":null}')
    assert "callId" not in first
    assert second.endswith('"resource":null,"callId":"to\\"olu"}')


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), max_size=40))
def test_rows_go_to_the_file_of_their_series_and_day_in_their_order(picks: list[tuple[int, int]]) -> None:
    rows = [(f"s{code % 2}", f"t{code}", TS + day * DAY_MS, float(at), True) for at, (code, day) in enumerate(picks)]
    batch = placed(build(rows))
    expected: dict[str, list[float]] = {}
    for server, tool, ts, duration, _ in rows:
        expected.setdefault(f"{iso(ts)[:10]}/{server}/{tool}.jsonl", []).append(duration)
    found: dict[str, list[float]] = {}
    for lines in Formatter().lines_of(batch):
        records = [json.loads(raw) for raw in lines.data.splitlines()]
        assert lines.path not in found
        found[lines.path] = [record["duration"] for record in records]
        assert lines.lines == len(records)
        stamps = [record["timestamp"] for record in records]
        assert (iso(lines.first_ms), iso(lines.last_ms)) == (min(stamps), max(stamps))
    assert found == expected
    assert {path for path, _ in files_of(batch)} == set(expected)


def test_the_last_and_first_millisecond_of_a_day_are_in_different_files() -> None:
    midnight = TS - TS % DAY_MS
    batch = placed(build([("s", "t", midnight - 1, 1.0, True), ("s", "t", midnight, 2.0, True)]))
    assert [lines.path for lines in Formatter().lines_of(batch)] == ["2025-10-30/s/t.jsonl", "2025-10-31/s/t.jsonl"]


def test_the_leap_day_has_its_file() -> None:
    assert [path for path, _ in files_of(placed(build([("s", "t", 1_709_164_800_000, 1.0, True)])))] == [
        "2024-02-29/s/t.jsonl"
    ]


def test_an_empty_batch_has_no_lines() -> None:
    empty = placed(build([]))
    assert list(Formatter().lines_of(empty)) == []
    assert list(files_of(empty)) == []


def test_a_row_belongs_to_its_own_series() -> None:
    batch = placed(build([("a", "x", TS, 1.0, True), ("b", "y", TS, 2.0, False), ("a", "x", TS, 3.0, True)]))
    found = {
        lines.series: [json.loads(raw)["duration"] for raw in lines.data.splitlines()]
        for lines in Formatter().lines_of(batch)
    }
    assert found == {Series("a", "x"): [1, 3], Series("b", "y"): [2]}
    assert np.array_equal(batch.codes, [0, 1, 0])
