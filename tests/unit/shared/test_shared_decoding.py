"""Entries decoded together say what they say decoded one by one, and are refused when any of them would be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmon.wire import MalformedFrame, pack, unpack
from shared.batch import Batch, BatchError, build, concatenate, decode
from shared.decoding import KNOWN_DICTIONARIES, decode_entries
from tests.unit.shared.test_shared_batch import batches, rows_of


def entry(*rows: tuple[str, str, int, float, bool], **changes: Any) -> bytes:
    body: dict[str, Any] = unpack(build(rows or [("a", "x", 1, 1.0, True)]).encode())
    return pack(body | changes)


@given(st.lists(batches(), min_size=1, max_size=5), st.booleans())
def test_entries_decoded_together_have_the_rows_of_each_in_order(parts: list[Batch], as_views: bool) -> None:
    bodies = [part.encode() for part in parts]
    found = decode_entries([memoryview(body) for body in bodies] if as_views else bodies)
    assert rows_of(found) == [row for body in bodies for row in rows_of(decode(body))]
    found.check()


@given(batches(), st.integers(1, 4))
def test_entries_over_one_dictionary_share_it_and_own_their_columns(batch: Batch, times: int) -> None:
    body = batch.encode()
    found = decode_entries([body] * times)
    assert rows_of(found) == rows_of(concatenate([decode(body)] * times))
    for column in (found.codes, found.ts, found.duration, found.ok):
        assert column.flags.writeable
        assert column.flags.aligned


def test_a_dictionary_is_recognised_by_its_bytes_however_many_came_between() -> None:
    first = build([("a", "x", 1, 1.0, True)])
    assert decode_entries([first.encode()]).dictionary is decode_entries([first.encode()]).dictionary
    for number in range(KNOWN_DICTIONARIES + 1):
        other = build([("b", f"y{number}", 1, 1.0, True)])
        assert decode_entries([other.encode()]).dictionary == other.dictionary
    assert decode_entries([first.encode()]).dictionary == first.dictionary


def test_what_only_some_entries_measured_is_nan_in_the_others() -> None:
    plain = build([("a", "x", 1, 1.0, True)])
    measured = build([("a", "x", 2, 2.0, True)], cpu=[7.0])
    found = decode_entries([plain.encode(), measured.encode()])
    assert found.cpu is not None
    assert math.isnan(found.cpu[0])
    assert found.cpu[1] == 7.0
    assert found.memory is None


def test_wide_and_narrow_codes_meet() -> None:
    narrow = entry(series=np.array([0], "<u2").tobytes())
    wide = entry(series=np.array([0], "<u4").tobytes())
    assert decode_entries([narrow, wide, narrow]).codes.tolist() == [0, 0, 0]


def test_an_entry_written_in_another_order_is_read_too() -> None:
    body: dict[str, Any] = unpack(entry())
    backwards = pack(dict(reversed(body.items())))
    assert rows_of(decode_entries([backwards, entry()])) == rows_of(decode_entries([entry(), entry()]))


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\xc0",
        b"\x80",
        b"\x81",
        b"\x81\xa1n",
        pack({"n": 0}),
        entry() + b"\0",
        entry()[:-1],
        entry(ok=b"\x02"),
        entry(n=2),
        entry(n=-1),
        entry(n=True),
        entry(n=1.0),
        entry(dictionary=[]),
        entry(dictionary=None),
        entry(series=b"\x01\0"),
        entry(series=b""),
        entry(ts="x"),
        entry(cpu=np.array([math.inf]).tobytes()),
        entry(memory=b"123"),
        entry(errors={"9": "beyond"}),
        entry(errors=b"12345678"),
    ],
    ids=repr,
)
def test_a_bad_entry_is_refused_alone_and_among_good_ones(bad: bytes) -> None:
    for bodies in ([bad], [entry(), bad], [bad, entry()]):
        with pytest.raises((BatchError, MalformedFrame)):
            decode_entries(bodies)


@given(st.data())
def test_mutated_entries_are_read_as_one_by_one_or_refused(data: st.DataObject) -> None:
    body = bytearray(entry(("a", "x", 5, 2.0, True), ("b", "y", 6, 3.0, False)))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        expected: Any = rows_of(decode(bytes(body)))
    except (BatchError, MalformedFrame):
        expected = None
    try:
        found: Any = rows_of(decode_entries([bytes(body)]))
    except (BatchError, MalformedFrame):
        found = None
    assert found == expected
