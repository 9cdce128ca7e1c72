"""The record batch: what goes in comes out, whatever is done on the way."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmon.wire import MalformedFrame, pack, unpack
from perfmon.wire.limits import MAX_ENTRY_BYTES
from shared.batch import MAX_TS_MS, Batch, BatchError, Series, build, concatenate, decode, from_columns

Row = tuple[str, str, int, bytes, int, bytes, bytes, bytes, str | None, str | None]

_name = st.sampled_from(["a", "b", "é", "../x"])
_duration = st.floats(0, 1e9) | st.just(-0.0)
_measured = st.floats(0, 1e12) | st.just(math.nan)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    rows = draw(st.lists(st.tuples(_name, _name, st.integers(0, MAX_TS_MS), _duration, st.booleans()), max_size=8))
    column = st.none() | st.lists(_measured, min_size=len(rows), max_size=len(rows))
    batch = build(rows, cpu=draw(column), memory=draw(column), disk_io=draw(column))
    for at in range(len(rows)):
        if draw(st.booleans()):
            batch.errors[at] = draw(st.text(max_size=5))
        if draw(st.booleans()):
            batch.call_ids[at] = draw(st.text(max_size=5))
    return batch


def rows_of(batch: Batch) -> list[Row]:
    """Every row by value; floats by their bytes, so that NaN and -0.0 count."""

    def measured(column: Any, at: int) -> bytes:
        return np.float64(math.nan if column is None else column[at]).tobytes()

    return [
        (
            *batch.dictionary[batch.codes[at]],
            int(batch.ts[at]),
            batch.duration[at].tobytes(),
            int(batch.ok[at]),
            measured(batch.cpu, at),
            measured(batch.memory, at),
            measured(batch.disk_io, at),
            batch.errors.get(at),
            batch.call_ids.get(at),
        )
        for at in range(len(batch))
    ]


@given(batches())
def test_a_batch_survives_its_encoding(batch: Batch) -> None:
    again = decode(batch.encode())
    assert rows_of(again) == rows_of(batch)
    assert again.dictionary == batch.dictionary
    assert (again.cpu is None) == (batch.cpu is None)
    again.check()


@given(st.lists(batches(), max_size=5))
def test_joined_batches_have_all_rows_in_order(parts: list[Batch]) -> None:
    joined = concatenate(parts)
    assert rows_of(joined) == [row for part in parts for row in rows_of(part)]
    joined.check()
    if len(parts) > 1:
        assert len(set(joined.dictionary)) == len(joined.dictionary)


@given(batches(), st.data())
def test_taking_rows_keeps_their_values_and_order(batch: Batch, data: st.DataObject) -> None:
    mask = np.asarray(data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch))), np.bool_)
    expected = [row for row, kept in zip(rows_of(batch), mask, strict=True) if kept]
    assert rows_of(batch.take(mask)) == expected
    assert rows_of(batch.take(np.flatnonzero(mask))) == expected


@given(batches(), st.data())
def test_a_compact_batch_has_the_same_rows_and_no_idle_series(batch: Batch, data: st.DataObject) -> None:
    mask = np.asarray(data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch))), np.bool_)
    taken = batch.take(mask)
    compact = taken.compact()
    assert rows_of(compact) == rows_of(taken)
    assert set(compact.dictionary) == {taken.dictionary[code] for code in taken.codes}
    assert len(set(compact.dictionary)) == len(compact.dictionary)


def test_a_compact_batch_is_itself_when_nothing_is_idle() -> None:
    batch = build([("a", "x", 1, 1.0, True), ("b", "y", 2, 2.0, True)])
    assert batch.compact() is batch


@given(batches())
def test_the_estimated_size_is_not_below_the_encoded_one_by_much(batch: Batch) -> None:
    assert len(batch.encode()) <= batch.size_bytes() + 60 * len(batch) + 300


def test_joined_batches_keep_paths_only_if_all_have_them() -> None:
    placed = from_columns(decode_body(build([("a", "x", 1, 1.0, True)]), paths=["a/x"]))
    other = from_columns(decode_body(build([("b", "y", 1, 1.0, True)]), paths=["b/y"]))
    assert concatenate([placed, other]).paths == ("a/x", "b/y")
    assert concatenate([placed, build([("b", "y", 1, 1.0, True)])]).paths is None


def decode_body(batch: Batch, **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = unpack(batch.encode())
    return body | changes


def test_codes_are_wide_only_when_the_dictionary_is_long() -> None:
    narrow = build([("s", f"t{n}", 1, 1.0, True) for n in range(65_536)])
    wide = build([("s", f"t{n}", 1, 1.0, True) for n in range(65_537)])
    assert len(decode_body(narrow)["series"]) == 2 * 65_536
    assert len(decode_body(wide)["series"]) == 4 * 65_537
    for batch in (narrow, wide):
        assert np.array_equal(decode(batch.encode()).codes, batch.codes)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\xc0", b"\x93\x01\x02\x03", b"\x80\x80", b"{}", pack(5), pack([])])
def test_bytes_that_are_no_batch_are_refused(data: bytes) -> None:
    with pytest.raises((BatchError, MalformedFrame)):
        decode(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"ts": np.array([-1], "<i8").tobytes()},
        {"ts": np.array([MAX_TS_MS + 1], "<i8").tobytes()},
        {"duration": np.array([-0.001]).tobytes()},
        {"duration": np.array([math.nan]).tobytes()},
        {"duration": np.array([math.inf]).tobytes()},
        {"ok": b"\x02"},
        {"cpu": np.array([-1.0]).tobytes()},
        {"memory": np.array([math.inf]).tobytes()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_entry_with_values_that_ingest_refuses_is_refused_by_every_reader(changes: dict[str, Any]) -> None:
    with pytest.raises(BatchError):
        decode(pack(decode_body(build([("a", "x", 1, 1.0, True)]), **changes)))


def test_an_entry_beyond_its_limit_is_refused() -> None:
    with pytest.raises(MalformedFrame):
        decode(b"\xc6" + (MAX_ENTRY_BYTES + 1).to_bytes(4, "big") + bytes(MAX_ENTRY_BYTES + 1))


def test_check_tells_what_does_not_fit() -> None:
    good = build([("a", "x", 1, 1.0, True)])
    with pytest.raises(BatchError, match="length"):
        Batch(good.dictionary, good.codes, good.ts[:0], good.duration, good.ok).check()
    with pytest.raises(BatchError, match="dictionary"):
        Batch((), good.codes, good.ts, good.duration, good.ok).check()
    with pytest.raises(BatchError, match="paths"):
        Batch(good.dictionary, good.codes, good.ts, good.duration, good.ok, paths=()).check()


def test_series_read_like_pairs() -> None:
    assert Series("a", "x") == ("a", "x")


def test_rows_of_errors_may_be_decimal_strings_as_javascript_writes_them() -> None:
    body = unpack(build([("s", "t", 1, 2.0, False)] * 3).encode()) | {"errors": {"2": "boo"}, "callIds": {0: "a"}}
    batch = from_columns(body)
    assert batch.errors == {2: "boo"}
    assert batch.call_ids == {0: "a"}
    for key in ("3", "-1", "1.0", "", "٣", True, 1.0):
        with pytest.raises(BatchError):
            from_columns(body | {"errors": {key: "boo"}})


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0x7FF0010101010101, 0xFFF0000000000001])
def test_every_nan_is_not_measured_signalling_ones_too(bits: int) -> None:
    batch = build([("s", "t", 1, 1.0, True)] * 20, cpu=[1.0] * 20)
    column = np.array([bits] * 3 + [0x3FF0000000000000] * 17, "<u8").view("<f8")
    decode(replace(batch, cpu=column).encode())
