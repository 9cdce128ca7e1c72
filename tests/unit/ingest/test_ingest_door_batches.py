"""What is let in of a batch of columns; rows and their batch are judged alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmon.wire import OVERFLOW_NAME, Kind, encode_batch, encode_rows, unpack_envelope
from perfmon.wire.limits import MAX_FUTURE_MS
from services.ingest.core.door import MessageRefused, let_in
from services.ingest.core.reasons import REASONS
from shared.batch import Series
from tests.unit.ingest.door_kit import NOW, OLDEST


def test_names_in_a_batch_that_no_row_has_become_no_series() -> None:
    frame = encode_batch(
        [("", ""), ("files", "read"), ("ghost", "ghost"), ("files", "read")],
        series=[1, 3],
        ts=[NOW, NOW],
        duration=[1.0, 2.0],
        ok=[True, True],
    )
    batch = let_in(Kind.BATCH, unpack_envelope(frame).body, NOW, OLDEST).batch
    assert batch.dictionary == (Series("files", "read"),)
    assert batch.codes.tolist() == [0, 0]


def test_a_producers_word_for_a_path_is_never_taken() -> None:
    frame = encode_batch([("files", "read")], series=[0], ts=[NOW], duration=[1.0], ok=[True])
    body = unpack_envelope(frame).body | {"paths": ["../../evil"]}
    assert let_in(Kind.BATCH, body, NOW, OLDEST).batch.paths is None


def batch_body(**changes: Any) -> dict[str, Any]:
    frame = encode_batch([("files", "read")], series=[0, 0], ts=[NOW, NOW], duration=[1.0, 2.0], ok=[True, False])
    return {key: value for key, value in (unpack_envelope(frame).body | changes).items() if value is not ...}


@pytest.mark.parametrize(
    "changes",
    [
        {"n": ...},
        {"n": -1},
        {"n": True},
        {"n": "2"},
        {"n": 3},
        {"n": 0},
        {"dictionary": ...},
        {"dictionary": []},
        {"dictionary": {}},
        {"dictionary": [["files"]]},
        {"dictionary": [["files", 5]]},
        {"dictionary": [["files", b"read"]]},
        {"dictionary": [["files", "read", "x"]]},
        {"dictionary": ["ab"]},
        {"series": b"\x00"},
        {"series": b"\x01\x00\x00\x00"},
        {"series": [0, 0]},
        {"series": ...},
        {"ts": b"\x00" * 15},
        {"ts": None},
        {"duration": b""},
        {"duration": "x" * 16},
        {"ok": b"\x01"},
        {"ok": [True, True]},
        {"cpu": b"\x00" * 8},
        {"memory": [1, 2]},
        {"diskIO": 5},
        {"errors": []},
        {"errors": {2: "x"}},
        {"errors": {-1: "x"}},
        {"errors": {"x": "x"}},
        {"errors": {True: "x"}},
        {"errors": {0: 5}},
        {"callIds": {0: b"x"}},
        {"callIds": {5: "x"}},
    ],
    ids=repr,
)
def test_columns_that_do_not_fit_refuse_the_whole_batch(changes: dict[str, Any]) -> None:
    with pytest.raises(MessageRefused) as refused:
        let_in(Kind.BATCH, batch_body(**changes), NOW, OLDEST)
    assert refused.value.reason == "bad_batch"


def test_an_ok_beyond_one_is_no_boolean() -> None:
    arrival = let_in(Kind.BATCH, batch_body(ok=b"\x02\x01"), NOW, OLDEST)
    assert arrival.refused.named == [(0, "success_not_boolean")]
    assert arrival.batch.duration.tolist() == [2.0]


def test_a_bad_call_id_in_a_batch_costs_its_row() -> None:
    arrival = let_in(Kind.BATCH, batch_body(callIds={0: "x" * 300, 1: "good"}), NOW, OLDEST)
    assert arrival.refused.named == [(0, "call_id_not_text")]
    assert arrival.batch.call_ids == {0: "good"}


def test_a_row_with_two_faults_is_refused_once() -> None:
    nan = np.array([math.nan, 1.0]).tobytes()
    arrival = let_in(Kind.BATCH, batch_body(duration=nan, callIds={0: ""}), NOW, OLDEST)
    assert arrival.refused.total == 1
    assert len(arrival.batch) == 1


FLOATS = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -0.0, -1.0, 1e9, 1e9 + 1, 5e-324])
NAMES = st.sampled_from(["files", "é", "", OVERFLOW_NAME, "../../x", "a\x00b", "x" * 1_025, "\udc80", "CON", "."])
TIMES = st.sampled_from([NOW, OLDEST, OLDEST - 1, NOW + MAX_FUTURE_MS, NOW + MAX_FUTURE_MS + 1, 0, 253_402_300_799_999])
MEASURED = st.none() | st.floats(min_value=0, max_value=1e6) | st.sampled_from([math.inf, -1.0, 1e7, 1e16])
ROWS = st.fixed_dictionaries(
    {
        "mcpServer": NAMES,
        "toolName": NAMES,
        "duration": FLOATS,
        "success": st.booleans(),
        "timestamp": TIMES,
        "error": st.none() | st.sampled_from(["boom", "password=hunter2", "x" * 2_000]),
        "callId": st.none() | st.sampled_from(["a", "b", "", "x" * 257, "\udc80"]),
        "cpu": MEASURED,
        "memory": MEASURED,
        "diskIO": MEASURED,
    }
)


def as_rows_body(rows: list[dict[str, Any]]) -> dict[str, Any]:
    shaped = []
    for raw in rows:
        resource = {name: raw[name] for name in ("cpu", "memory", "diskIO")}
        shaped.append({key: value for key, value in raw.items() if key not in resource} | {"resource": resource})
    return unpack_envelope(lenient(encode_rows, shaped)).body


def as_batch_body(rows: list[dict[str, Any]]) -> dict[str, Any]:
    union: dict[tuple[str, str], int] = {}
    codes = [union.setdefault((row["mcpServer"], row["toolName"]), len(union)) for row in rows]

    def measured(name: str) -> list[float]:
        return [math.nan if row[name] is None else row[name] for row in rows]

    def sparse(name: str) -> dict[int, str]:
        return {index: row[name] for index, row in enumerate(rows) if row[name] is not None}

    frame = encode_batch(
        list(union),
        series=codes,
        ts=[row["timestamp"] for row in rows],
        duration=[row["duration"] for row in rows],
        ok=[row["success"] for row in rows],
        cpu=measured("cpu"),
        memory=measured("memory"),
        disk_io=measured("diskIO"),
        errors=sparse("error"),
        call_ids=sparse("callId"),
    )
    return unpack_envelope(frame).body


def lenient(encode: Any, rows: Any) -> bytes:
    frame: bytes = encode(rows)
    return frame


@given(st.lists(ROWS, max_size=12))
@settings(max_examples=150, deadline=None)
def test_rows_and_their_batch_get_the_same_verdicts(rows: list[dict[str, Any]]) -> None:
    as_rows = let_in(Kind.ROWS, as_rows_body(rows), NOW, OLDEST)
    as_batch = let_in(Kind.BATCH, as_batch_body(rows), NOW, OLDEST)
    assert [index for index, _ in as_rows.refused.named] == [index for index, _ in as_batch.refused.named]
    assert as_rows.refused.total == as_batch.refused.total
    left, right = as_rows.batch, as_batch.batch
    assert [left.dictionary[code] for code in left.codes] == [right.dictionary[code] for code in right.codes]
    for name in ("ts", "duration", "ok"):
        assert getattr(left, name).tobytes() == getattr(right, name).tobytes()
    for name in ("cpu", "memory", "disk_io"):
        nothing = np.full(len(left), np.nan)
        found = [nothing if batch.resource(name) is None else batch.resource(name) for batch in (left, right)]
        np.testing.assert_array_equal(*found)
    assert left.errors == right.errors
    assert left.call_ids == right.call_ids
    assert set(as_rows.refused.by_reason) <= set(REASONS)
    assert set(as_batch.refused.by_reason) <= set(REASONS)
