"""What is let in of a message, and what is refused with which reason."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmon.wire import MAX_ROWS, OVERFLOW_NAME, Kind, encode_batch, encode_rows, unpack_envelope
from perfmon.wire.limits import MAX_FUTURE_MS
from services.ingest.core.door import Arrival, MessageRefused, let_in, producer_of
from services.ingest.core.reasons import REASONS
from services.ingest.core.validation import MAX_NAMED
from shared.batch import Series
from shared.timespan import HOUR_MS, iso

NOW = 1_761_915_600_123
OLDEST = NOW - 24 * HOUR_MS
GOOD: dict[str, Any] = {"mcpServer": "files", "toolName": "read", "duration": 12.5, "success": True}


def arrive(*rows: Any) -> Arrival:
    return let_in(Kind.ROWS, {"rows": list(rows)}, NOW, OLDEST)


def refused_as(**changes: Any) -> str:
    """The reason for which a row with these changes is refused, between two good neighbours that are stored."""
    arrival = arrive(GOOD, GOOD | changes, GOOD)
    assert len(arrival.batch) == 2
    [(index, reason)] = arrival.refused.named
    assert index == 1
    assert arrival.refused.by_reason == {reason: 1}
    assert reason in REASONS
    return reason


def test_a_good_row_becomes_columns() -> None:
    full = GOOD | {
        "success": False,
        "error": "no such file",
        "resource": {"cpu": 15.5, "memory": 128, "diskIO": 1024},
        "timestamp": "2025-10-31T13:00:00.123Z",
        "callId": "toolu_1",
    }
    batch = arrive(full).batch
    assert batch.dictionary == (Series("files", "read"),)
    assert batch.ts.tolist() == [NOW]
    assert batch.duration.tolist() == [12.5]
    assert batch.ok.tolist() == [0]
    assert batch.errors == {0: "no such file"}
    assert batch.call_ids == {0: "toolu_1"}
    assert [column.tolist() for column in (batch.cpu, batch.memory, batch.disk_io) if column is not None] == [
        [15.5],
        [128.0],
        [1024.0],
    ]


@pytest.mark.parametrize("value", ["5", None, True, False, [5], b"5", {}])
def test_a_duration_that_is_no_number_is_refused(value: object) -> None:
    assert refused_as(duration=value) == "duration_not_a_number"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, -0.001, 1.1e9, 1e308, 2**63, 2**64 - 1, -(2**63)])
def test_a_duration_out_of_range_is_refused(value: float) -> None:
    assert refused_as(duration=value) == "duration_out_of_range"


@pytest.mark.parametrize("value", [0, 0.0, -0.0, 5e-324, 1e9, 150])
def test_a_duration_at_the_edges_is_stored(value: float) -> None:
    assert arrive(GOOD | {"duration": value}).batch.duration.tolist() == [value]


@pytest.mark.parametrize("value", ["yes", "true", 1, 0, None, 1.0])
def test_success_is_a_boolean_and_nothing_like_one(value: object) -> None:
    assert refused_as(success=value) == "success_not_boolean"


@pytest.mark.parametrize("missing", ["mcpServer", "toolName", "duration", "success"])
def test_a_row_without_a_required_field_is_refused(missing: str) -> None:
    arrival = arrive({key: value for key, value in GOOD.items() if key != missing}, GOOD)
    assert arrival.refused.named == [(0, "missing_field")]
    assert len(arrival.batch) == 1


@pytest.mark.parametrize("field", ["durationMs", "Duration", "", "paths", 7, None])
def test_an_unknown_field_is_refused(field: object) -> None:
    arrival = arrive(GOOD | {field: 1}, GOOD)
    assert arrival.refused.named == [(0, "unknown_field")]


@pytest.mark.parametrize("value", [None, 1, "row", [GOOD], True, b"x"])
def test_a_row_that_is_no_map_is_refused(value: object) -> None:
    assert arrive(GOOD, value).refused.named == [(1, "row_not_a_map")]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "name_empty"),
        (OVERFLOW_NAME, "name_reserved"),
        ("x" * 1_025, "name_too_long"),
        ("é" * 513, "name_too_long"),
        ("\udc80", "name_not_utf8"),
        (5, "name_not_text"),
        (b"files", "name_not_text"),
        (None, "name_not_text"),
    ],
)
@pytest.mark.parametrize("field", ["mcpServer", "toolName"])
def test_a_name_that_cannot_be_kept_is_refused(field: str, value: object, reason: str) -> None:
    assert refused_as(**{field: value}) == reason


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ([1, 2, 3], "resource_not_a_map"),
        ("none", "resource_not_a_map"),
        ({"cpu": 1, "disk": 2}, "unknown_field"),
        ({"cpu": "5"}, "resource_not_a_number"),
        ({"memory": True}, "resource_not_a_number"),
        ({"cpu": -1}, "cpu_out_of_range"),
        ({"cpu": math.nan}, "cpu_out_of_range"),
        ({"memory": math.inf}, "memory_out_of_range"),
        ({"diskIO": 1e16}, "disk_io_out_of_range"),
    ],
)
def test_a_resource_that_is_no_measurement_is_refused(resource: object, reason: str) -> None:
    assert refused_as(resource=resource) == reason


@pytest.mark.parametrize("resource", [None, {}, {"cpu": None, "memory": None, "diskIO": None}])
def test_what_was_not_measured_has_no_column(resource: object) -> None:
    batch = arrive(GOOD | {"resource": resource}).batch
    assert batch.cpu is None
    assert batch.memory is None
    assert batch.disk_io is None


@pytest.mark.parametrize(
    "value", ["", "yesterday", "now", "1761915600", 1.5, True, -5, 10**18, [], "x" * 100, "2025-13-01"]
)
def test_a_timestamp_that_is_no_time_is_refused(value: object) -> None:
    assert refused_as(timestamp=value) == "timestamp_not_a_time"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (NOW + MAX_FUTURE_MS + 1, "timestamp_in_future"),
        ("2099-01-01T00:00:00Z", "timestamp_in_future"),
        ("9999-12-31T23:59:59.999Z", "timestamp_in_future"),
        (OLDEST - 1, "timestamp_too_old"),
        (0, "timestamp_too_old"),
        ("0001-01-01T00:00:00Z", "timestamp_too_old"),
        ("1969-12-31T23:59:59Z", "timestamp_too_old"),
    ],
)
def test_a_timestamp_far_off_is_refused(value: object, reason: str) -> None:
    assert refused_as(timestamp=value) == reason


@pytest.mark.parametrize("value", [OLDEST, NOW + MAX_FUTURE_MS, iso(NOW), "2025-10-31T14:00:00+01:00", None])
def test_a_timestamp_at_the_edges_is_stored(value: object) -> None:
    assert len(arrive(GOOD | {"timestamp": value}).batch) == 1


def test_a_row_without_a_timestamp_happened_now() -> None:
    assert arrive(GOOD).batch.ts.tolist() == [NOW]


@pytest.mark.parametrize("value", [5, "", "x" * 257, "\udc80", b"id", True])
def test_a_call_id_that_cannot_be_kept_is_refused(value: object) -> None:
    assert refused_as(callId=value) == "call_id_not_text"


@pytest.mark.parametrize("value", [5, b"x", ["x"], True])
def test_an_error_that_is_no_text_is_refused(value: object) -> None:
    assert refused_as(error=value) == "error_not_text"


def test_an_error_with_invalid_characters_is_stored_without_them() -> None:
    batch = arrive(GOOD | {"success": False, "error": "bad \udc80 byte"}).batch
    assert batch.errors == {0: "bad ? byte"}


def test_refused_rows_are_named_by_their_index_in_the_message_and_counted_by_reason() -> None:
    rows = [
        GOOD,
        GOOD | {"duration": -1},
        7,
        GOOD | {"toolName": ""},
        GOOD,
        GOOD | {"duration": "x"},
        GOOD | {"duration": -2},
    ]
    arrival = arrive(*rows)
    assert arrival.refused.named == [
        (1, "duration_out_of_range"),
        (2, "row_not_a_map"),
        (3, "name_empty"),
        (5, "duration_not_a_number"),
        (6, "duration_out_of_range"),
    ]
    assert arrival.refused.by_reason == {
        "duration_out_of_range": 2,
        "row_not_a_map": 1,
        "name_empty": 1,
        "duration_not_a_number": 1,
    }
    assert arrival.rows == 7
    assert len(arrival.batch) == 2


def test_only_the_first_refused_rows_are_named_and_all_are_counted() -> None:
    arrival = arrive(*([GOOD | {"duration": -1}, 5] * 100))
    assert arrival.refused.named[0] == (0, "duration_out_of_range")
    assert [index for index, _ in arrival.refused.named] == list(range(MAX_NAMED))
    assert arrival.refused.total == 200


def test_a_refused_row_leaves_no_trace_of_its_names() -> None:
    arrival = arrive(GOOD, GOOD | {"mcpServer": "", "toolName": "x"}, GOOD | {"toolName": "ghost", "duration": -1})
    assert arrival.batch.dictionary == (Series("files", "read"),)


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


def _batch_body(**changes: Any) -> dict[str, Any]:
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
        let_in(Kind.BATCH, _batch_body(**changes), NOW, OLDEST)
    assert refused.value.reason == "bad_batch"


def test_an_ok_beyond_one_is_no_boolean() -> None:
    arrival = let_in(Kind.BATCH, _batch_body(ok=b"\x02\x01"), NOW, OLDEST)
    assert arrival.refused.named == [(0, "success_not_boolean")]
    assert arrival.batch.duration.tolist() == [2.0]


def test_a_bad_call_id_in_a_batch_costs_its_row() -> None:
    arrival = let_in(Kind.BATCH, _batch_body(callIds={0: "x" * 300, 1: "good"}), NOW, OLDEST)
    assert arrival.refused.named == [(0, "call_id_not_text")]
    assert arrival.batch.call_ids == {0: "good"}


def test_a_row_with_two_faults_is_refused_once() -> None:
    nan = np.array([math.nan, 1.0]).tobytes()
    arrival = let_in(Kind.BATCH, _batch_body(duration=nan, callIds={0: ""}), NOW, OLDEST)
    assert arrival.refused.total == 1
    assert len(arrival.batch) == 1


@pytest.mark.parametrize("rows", [None, {}, "rows", 5])
def test_rows_that_are_no_list_refuse_the_message(rows: object) -> None:
    with pytest.raises(MessageRefused) as refused:
        let_in(Kind.ROWS, {"rows": rows}, NOW, OLDEST)
    assert refused.value.reason == "bad_batch"


def test_too_many_rows_refuse_the_message_in_both_forms() -> None:
    for kind, body in ((Kind.ROWS, {"rows": [None] * (MAX_ROWS + 1)}), (Kind.BATCH, {"n": MAX_ROWS + 1})):
        with pytest.raises(MessageRefused) as refused:
            let_in(kind, body, NOW, OLDEST)
        assert refused.value.reason == "too_many_rows"


def test_an_empty_message_is_let_in_with_nothing() -> None:
    assert len(arrive().batch) == 0
    empty = encode_batch([], series=[], ts=[], duration=[], ok=[])
    assert len(let_in(Kind.BATCH, unpack_envelope(empty).body, NOW, OLDEST).batch) == 0


@pytest.mark.parametrize("kind", ["metrics", "", "ack", "ROWS"])
def test_an_unknown_kind_is_refused(kind: str) -> None:
    with pytest.raises(MessageRefused) as refused:
        let_in(kind, {}, NOW, OLDEST)
    assert refused.value.reason == "unknown_kind"


@pytest.mark.parametrize(
    "body",
    [
        {"producer": "a"},
        {"seq": 1},
        {"producer": "", "seq": 1},
        {"producer": "x" * 129, "seq": 1},
        {"producer": "é" * 65, "seq": 1},
        {"producer": "\udc80", "seq": 1},
        {"producer": 5, "seq": 1},
        {"producer": b"a", "seq": 1},
        {"producer": "a", "seq": 0},
        {"producer": "a", "seq": -1},
        {"producer": "a", "seq": 1.0},
        {"producer": "a", "seq": True},
        {"producer": "a", "seq": 2**63},
    ],
    ids=repr,
)
def test_a_producer_says_who_it_is_and_its_sequence_or_neither(body: dict[str, Any]) -> None:
    with pytest.raises(MessageRefused) as refused:
        producer_of(body)
    assert refused.value.reason == "bad_producer"


def test_a_producer_at_the_limits_is_taken() -> None:
    assert producer_of({}) is None
    assert producer_of({"producer": "x" * 128, "seq": 2**63 - 1}) == ("x" * 128, 2**63 - 1)


# --- rows and batches are judged alike ----------------------------------------------------------------------------

_floats = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -0.0, -1.0, 1e9, 1e9 + 1, 5e-324])
_names = st.sampled_from(["files", "é", "", OVERFLOW_NAME, "../../x", "a\x00b", "x" * 1_025, "\udc80", "CON", "."])
_times = st.sampled_from(
    [NOW, OLDEST, OLDEST - 1, NOW + MAX_FUTURE_MS, NOW + MAX_FUTURE_MS + 1, 0, 253_402_300_799_999]
)
_measured = st.none() | st.floats(min_value=0, max_value=1e6) | st.sampled_from([math.inf, -1.0, 1e7, 1e16])
_rows = st.fixed_dictionaries(
    {
        "mcpServer": _names,
        "toolName": _names,
        "duration": _floats,
        "success": st.booleans(),
        "timestamp": _times,
        "error": st.none() | st.sampled_from(["boom", "password=hunter2", "x" * 2_000]),
        "callId": st.none() | st.sampled_from(["a", "b", "", "x" * 257, "\udc80"]),
        "cpu": _measured,
        "memory": _measured,
        "diskIO": _measured,
    }
)


def _as_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    shaped = []
    for raw in rows:
        resource = {name: raw[name] for name in ("cpu", "memory", "diskIO")}
        shaped.append({key: value for key, value in raw.items() if key not in resource} | {"resource": resource})
    return unpack_envelope(_lenient(encode_rows, shaped)).body


def _as_batch(rows: list[dict[str, Any]]) -> dict[str, Any]:
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


def _lenient(encode: Any, rows: Any) -> bytes:
    frame: bytes = encode(rows)
    return frame


@given(st.lists(_rows, max_size=12))
@settings(max_examples=150, deadline=None)
def test_rows_and_their_batch_get_the_same_verdicts(rows: list[dict[str, Any]]) -> None:
    as_rows = let_in(Kind.ROWS, _as_rows(rows), NOW, OLDEST)
    as_batch = let_in(Kind.BATCH, _as_batch(rows), NOW, OLDEST)
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
