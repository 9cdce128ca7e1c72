"""Rows and columns as messages: what travels as what, what is mended, and what is refused."""

from __future__ import annotations

from array import array
from math import isnan, nan
from typing import Any

import pytest

from perfmon.producer.columns import BLOCK_BYTES, BLOCK_ROWS, of_columns
from perfmon.producer.delivery import LARGE_MESSAGE_BYTES, Delivery, Verdict
from perfmon.producer.messages import BATCH_FROM_ROWS, Message, build_message
from perfmon.producer.rows import Row, error_text, size_bytes
from perfmon.wire import MAX_ERROR_CHARS, MAX_FRAME_BYTES, Kind, unpack
from tests.fakes.fake_ingest import rows_of
from tests.unit.producer.delivery_kit import ROW


def _fields(rows: list[Row]) -> dict[str, Any]:
    message = build_message(rows)
    fields: dict[str, Any] = unpack(message.frame("p", 1))
    return fields


def test_many_rows_travel_as_columns_and_mean_the_same() -> None:
    rows: list[Row] = [
        ("s", "t", 1.5, True, None, None, None, None, 1_000, None, 0),
        ("s", "ü", -0.0, False, "boom", 12.5, None, 4, 1_001, "toolu_1", 0),
        ("s", "t", 7, False, "", None, nan, None, 1_002, None, 0),
    ] * BATCH_FROM_ROWS
    fields = _fields(rows)
    assert (fields["kind"], fields["n"], fields["dictionary"]) == ("batch", len(rows), [["s", "t"], ["s", "ü"]])
    assert rows_of(fields)[:3] == [
        {"mcpServer": "s", "toolName": "t", "timestamp": 1_000, "duration": 1.5, "success": True},
        {
            "mcpServer": "s",
            "toolName": "ü",
            "timestamp": 1_001,
            "duration": -0.0,
            "success": False,
            "error": "boom",
            "resource": {"cpu": 12.5, "diskIO": 4.0},
            "callId": "toolu_1",
        },
        {"mcpServer": "s", "toolName": "t", "timestamp": 1_002, "duration": 7.0, "success": False},
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (0, "s\ud800"),
        (0, None),
        (1, "t" * 2_000),
        (2, "fast"),
        (2, True),
        (3, 1),
        (4, "file \udcff missing"),
        (5, "x"),
        (6, False),
        (8, "2025-10-31T13:00:00Z"),
        (8, 2**80),
        (9, 5),
        (9, ""),
        (9, "c" * 300),
    ],
)
def test_a_row_that_fits_no_column_makes_the_message_one_of_rows(field: int, value: object) -> None:
    odd = list(ROW)
    odd[field] = value
    fields = _fields([ROW] * BATCH_FROM_ROWS + [tuple(odd)])  # type: ignore[list-item] # hostile
    assert fields["kind"] == "rows"
    assert len(fields["rows"]) >= BATCH_FROM_ROWS


def test_a_few_rows_travel_as_rows() -> None:
    assert _fields([ROW] * (BATCH_FROM_ROWS - 1))["kind"] == "rows"


def _columns(n: int, **more: Any) -> dict[str, Any]:
    return {
        "dictionary": [("s", "t")],
        "series": [0] * n,
        "duration_ms": [1.0] * n,
        "ok": [True] * n,
        "ts_ms": 5,
        "resources": {},
        "errors": None,
        "call_ids": None,
        **more,
    }


def test_columns_are_cut_into_blocks_with_their_own_row_numbers() -> None:
    n = 2 * BLOCK_ROWS + 1
    blocks = list(of_columns(**_columns(n, duration_ms=array("d", range(n)), errors={n - 1: "last", 0: "first"})))
    assert sum(block.rows for block in blocks) == n
    assert max(block.rows for block in blocks) <= BLOCK_ROWS
    rows = [row for block in blocks for row in rows_of(block.fields)]
    assert [row["duration"] for row in rows] == list(range(n))
    assert [(number, row["error"]) for number, row in enumerate(rows) if "error" in row] == [
        (0, "first"),
        (n - 1, "last"),
    ]


def test_blocks_with_long_errors_stay_within_a_frame() -> None:
    n = BLOCK_ROWS
    blocks = list(of_columns(**_columns(n, errors=dict.fromkeys(range(n), "\U0001f600" * 2_000))))
    assert all(block.size_bytes <= BLOCK_BYTES + 1_000 for block in blocks)
    frames = [Message(Kind.BATCH, block.fields, block.rows).frame("p", 1) for block in blocks]
    assert max(map(len, frames)) < MAX_FRAME_BYTES


def test_any_kind_of_column_is_taken() -> None:
    import numpy as np

    plain = [1.5, 2.0, 3.25]
    for values in (plain, tuple(plain), array("d", plain), array("f", plain), np.array(plain), np.array(plain, ">f8")):
        for ok in ([True, False, True], np.array([1, 0, 1], np.uint8), np.array([True, False, True]), b"\1\0\1"):
            for series in ([0, 0, 0], array("H", [0, 0, 0]), np.zeros(3, np.int64), np.zeros(6, np.uint16)[::2]):
                [block] = of_columns(
                    **_columns(3, series=series, duration_ms=values, ok=ok, resources={"cpu": [None, 1.0, nan]})
                )
                rows = rows_of(block.fields)
                assert [row["duration"] for row in rows] == plain
                assert [row["success"] for row in rows] == [True, False, True]
                assert [row.get("resource") for row in rows] == [None, {"cpu": 1.0}, None]
                assert isnan(array("d", block.fields["cpu"])[0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"series": [0]},
        {"series": [0, 1]},
        {"series": [0, -1]},
        {"series": [0, 70_000]},
        {"ok": [True]},
        {"duration_ms": ["x", 1.0]},
        {"ts_ms": [1, 2, 3]},
        {"ts_ms": [1, 2**70]},
        {"errors": {2: "beyond"}},
        {"errors": {0: 5}},
        {"call_ids": {0: "\ud800"}},
        {"dictionary": [("s\ud800", "t")]},
        {"resources": {"cpu": [1.0]}},
        {"dictionary": []},
        {"dictionary": [("s", None)]},
        {"dictionary": [(b"s", "t")]},
        {"dictionary": [("s",)]},
    ],
    ids=repr,
)
def test_columns_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        list(of_columns(**_columns(2, **wrong)))


def test_a_row_has_the_seeds_field_names_and_leaves_out_what_was_not_measured() -> None:
    full: Row = ("s", "t", 1.5, False, "boom", 12.5, 128.0, 4.0, 1_000, "toolu_1", 0)
    assert unpack(build_message([ROW, full]).frame(None, 1))["rows"] == [
        {"mcpServer": "server", "toolName": "tool", "duration": 1.5, "success": True, "timestamp": 1_000},
        {
            "mcpServer": "s",
            "toolName": "t",
            "duration": 1.5,
            "success": False,
            "timestamp": 1_000,
            "error": "boom",
            "resource": {"cpu": 12.5, "memory": 128.0, "diskIO": 4.0},
            "callId": "toolu_1",
        },
    ]


class _NumberOfAnotherLibrary:
    def __float__(self) -> float:
        return 2.5


def test_one_row_that_cannot_travel_does_not_keep_the_others() -> None:
    hostile: list[Row] = [
        ("s" * 2_000, "t", 1.0, True, None, None, None, None, 1, None, 0),
        ("s", "t", 1.0, True, None, None, None, None, 1, "c" * 300, 0),
        ("s", "t", object(), True, None, None, None, None, 1, None, 0),
        ("s", "t", 1.0, True, None, None, None, None, 2**80, None, 0),
    ]
    mended: list[Row] = [
        ("s\ud800", "t", 1.0, False, "file \udcff missing", None, None, None, 1, None, 0),
        ("s", "t", _NumberOfAnotherLibrary(), True, None, _NumberOfAnotherLibrary(), None, None, 1, None, 0),
    ]
    message = build_message([*hostile, *mended, ROW])
    assert (message.rows, message.rejected, message.reason) == (3, 4, "name_too_long")
    rows = unpack(message.frame("p", 1))["rows"]
    assert rows[0]["mcpServer"] == "s\\ud800"
    assert rows[0]["error"] == "file \\udcff missing"
    assert (rows[1]["duration"], rows[1]["resource"]) == (2.5, {"cpu": 2.5})


def test_a_message_of_nothing_but_unsendable_rows_is_done_at_once() -> None:
    delivery = Delivery("p")
    bad: Row = ("s" * 2_000, "t", 1.0, True, None, None, None, None, 1, None, 0)
    assert delivery.add(7, build_message([bad]), 0.0) == Verdict(
        7, rejected=1, reason="name_too_long", reasons={"name_too_long": 1}
    )
    assert (delivery.idle, delivery.seq) == (True, 0)


def test_the_largest_message_fits_a_frame() -> None:
    emoji = "\U0001f600"
    row: Row = (emoji * 1024, emoji * 1024, 1.0, False, emoji * 1000, 1.0, 1.0, 1.0, 1, "c" * 256, 0)
    rows = LARGE_MESSAGE_BYTES // size_bytes(row[0], row[1], row[4], row[9]) + 2
    assert len(build_message([row] * rows).frame("p", 1)) < MAX_FRAME_BYTES / 4
    assert len(build_message([row] * rows + [(*row[:2], True, *row[3:])]).frame("p", 1)) < MAX_FRAME_BYTES / 4


def test_error_texts_name_the_class_and_are_cut() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_text(KeyError("x")) == "KeyError: 'x'"
    assert error_text(TimeoutError()) == "TimeoutError"
    assert error_text(Silent()).endswith("Silent")
    assert len(error_text("x" * 10_000_000)) == MAX_ERROR_CHARS
