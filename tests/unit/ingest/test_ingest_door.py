"""What is let in of a message, and what is refused with which reason."""

from __future__ import annotations

import math
from typing import Any

import pytest

from perfmon.wire import MAX_ROWS, OVERFLOW_NAME, Kind, encode_batch, unpack_envelope
from perfmon.wire.limits import MAX_FUTURE_MS
from services.ingest.core.door import MessageRefused, let_in, producer_of
from services.ingest.core.validation import MAX_NAMED
from shared.batch import Series
from shared.timespan import iso
from tests.unit.ingest.door_kit import GOOD, NOW, OLDEST, arrive, refused_as


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
