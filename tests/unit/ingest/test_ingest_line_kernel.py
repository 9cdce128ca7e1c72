"""The compiled formatter writes what the plain one writes, byte for byte."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.core import lines
from services.ingest.core.lines import FileLines, Formatter
from services.ingest.core.placement import Placement
from shared.batch import Batch, build
from shared.timespan import DAY_MS

TS = 1_761_915_600_123


@pytest.fixture(scope="module")
def compiled() -> Formatter:
    formatter = Formatter()
    formatter.compile()
    assert formatter.compiled
    return formatter


def by_file(formatter: Formatter, batch: Batch) -> dict[str, tuple[bytes, int, int, int]]:
    """The bytes, lines, first and last timestamp of every file."""
    found: dict[str, tuple[bytes, int, int, int]] = {}
    for part in formatter.lines_of(Placement(1_000).place(batch)):
        data, count, first, last = found.get(part.path, (b"", 0, part.first_ms, part.last_ms))
        found[part.path] = (
            data + bytes(part.data),
            count + part.lines,
            min(first, part.first_ms),
            max(last, part.last_ms),
        )
    return found


def assert_twins(formatter: Formatter, batch: Batch) -> None:
    assert by_file(formatter, batch) == by_file(Formatter(), batch)


numbers = st.one_of(
    st.floats(min_value=0, allow_infinity=False, allow_nan=False),
    st.integers(0, 10**16).map(float),
    st.integers(0, 10**12).map(lambda n: n / 1000),
    st.integers(0, 10**15).map(lambda n: n / 1_000_000),
    st.sampled_from(
        [0.0, -0.0, 0.001, 0.0001, 0.00001, 9.999999, 999.999, 0.1 + 0.2, 1e15, 1e16, 2.0**53, 5e-324, 1e22]
    ),
)
measured = numbers | st.just(math.nan)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    count = draw(st.integers(1, 30))
    text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
    names = draw(st.lists(st.tuples(text, text), min_size=1, max_size=5))
    times = st.integers(TS - 3 * DAY_MS, TS) | st.integers(0, 253_402_300_799_999)
    rows = [(*draw(st.sampled_from(names)), draw(times), draw(numbers), draw(st.booleans())) for _ in range(count)]
    columns: dict[str, Any] = {
        name: draw(st.none() | st.lists(measured, min_size=count, max_size=count))
        for name in ("cpu", "memory", "disk_io")
    }
    batch = build(rows, **columns)
    for row in draw(st.sets(st.integers(0, count - 1), max_size=5)):
        batch.errors[row] = draw(text)
    for row in draw(st.sets(st.integers(0, count - 1), max_size=5)):
        batch.call_ids[row] = draw(text)
    return batch


@settings(max_examples=300, deadline=None)
@given(batch=batches())
def test_any_batch_reads_the_same_from_both(compiled: Formatter, batch: Batch) -> None:
    assert_twins(compiled, batch)


def test_a_batch_whose_columns_are_the_bytes_of_a_message_is_formatted(compiled: Formatter) -> None:
    batch = build([("s", "t", TS + n, n / 8, True) for n in range(10)])
    for column in (batch.codes, batch.ts, batch.duration, batch.ok):
        column.flags.writeable = False
    assert_twins(compiled, batch)


@pytest.mark.parametrize("digits", range(17))
def test_whole_numbers_and_decimals_of_every_length(compiled: Formatter, digits: int) -> None:
    values = [10**digits, 10**digits - 1, 10**digits + 1]
    durations = [value / scale for value in values for scale in (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)]
    assert_twins(compiled, build([("s", "t", TS, duration, True) for duration in durations]))


def test_every_thousandth_and_every_four_digits(compiled: Formatter) -> None:
    rows = [("s", "t", TS, n / 1000, True) for n in range(12_000)] + [
        ("s", "t", TS, n * 10_001.0, True) for n in range(10_000)
    ]
    assert_twins(compiled, build(rows))


def test_every_part_of_a_time_of_day(compiled: Formatter) -> None:
    midnight = TS - TS % DAY_MS
    times = [
        midnight,
        midnight + DAY_MS - 1,
        *(midnight + n for n in range(0, DAY_MS, 997_123)),
        *range(TS, TS + 1_000),
    ]
    assert_twins(compiled, build([("s", "t", at, 1.0, True) for at in times]))


def test_doubles_of_every_magnitude_have_the_digits_of_their_repr(compiled: Formatter) -> None:
    rng = np.random.default_rng(7)
    anywhere = rng.integers(0, 0x7FEF_FFFF_FFFF_FFFF, 20_000, np.uint64).view(np.float64)
    common = np.concatenate([rng.lognormal(4, 3, 20_000), rng.random(20_000), rng.random(5_000) * 1e16])
    powers = 2.0 ** np.arange(-20, 54)
    neighbours = np.concatenate([np.nextafter(powers, 0), powers, np.nextafter(powers, np.inf)])
    values = np.concatenate([anywhere, common, neighbours, neighbours / 10, 10.0 ** np.arange(-6, 18)])
    assert_twins(compiled, build([("s", "t", TS, value, True) for value in values.tolist()]))


@pytest.mark.parametrize("length", range(0, 100, 7))
def test_names_of_every_length(compiled: Formatter, length: int) -> None:
    assert_twins(compiled, build([("s" * (length + 1), "é" * (length + 1), TS, 1.5, True)]))


def test_a_large_file_comes_in_parts_and_long_errors_find_room(
    compiled: Formatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "CHUNK_BYTES", 4_096)
    rows = [("s", f"t{n % 3}", TS + n, n / 8, n % 5 > 0) for n in range(500)]
    batch = build(rows, cpu=[float(n) for n in range(500)])
    for row in range(0, 500, 5):
        batch.errors[row] = f"{row} " + "x" * (row * 4)
    parts = [part for part in compiled.lines_of(Placement(10).place(batch)) if part.lines]
    assert len(parts) > 3
    assert_twins(compiled, batch)


def test_times_too_far_apart_for_a_table_are_sorted_all_the_same(compiled: Formatter) -> None:
    rows = [("s", f"t{n}", (n * 977 % 60_000) * DAY_MS, float(n), True) for n in range(200)]
    assert_twins(compiled, build(rows))
    found = by_file(compiled, build(rows))
    assert len(found) == 200
    assert sorted(json.loads(data)["duration"] for data, *_ in found.values()) == list(range(200))


def test_columns_of_a_received_frame_are_read_where_they_lie(compiled: Formatter) -> None:
    batch = Placement(10).place(build([("s", "t", TS, 1.25, True), ("s", "t", TS, 2.5, False)], cpu=[1.0, math.nan]))
    raw = b"x" + batch.duration.tobytes()
    unaligned = np.frombuffer(raw, np.float64, offset=1)
    moved = Batch(batch.dictionary, batch.codes, batch.ts, unaligned, batch.ok, cpu=batch.cpu, paths=batch.paths)
    assert _text(compiled.lines_of(moved)) == _text(Formatter().lines_of(batch))


def _text(parts: Any) -> bytes:
    listed: list[FileLines] = []
    data = b""
    for part in parts:
        listed.append(part)
        data += bytes(part.data)
    return data
