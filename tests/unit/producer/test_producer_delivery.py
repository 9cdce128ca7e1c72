"""What a producer sends, sends again and gives up: decided without sockets."""

from __future__ import annotations

import random
from array import array
from math import isnan, nan
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmon.producer.columns import BLOCK_BYTES, BLOCK_ROWS, of_columns
from perfmon.producer.delivery import (
    ACK_TIMEOUT_S,
    LARGE_MESSAGE_BYTES,
    MAX_ACK_TIMEOUT_S,
    MAX_IN_FLIGHT_BYTES,
    MAX_RETRY_PAUSE_S,
    NOTHING,
    SMALL_MESSAGE_BYTES,
    TRY_AGAIN,
    Delivery,
    Verdict,
)
from perfmon.producer.messages import BATCH_FROM_ROWS, Message, build_message
from perfmon.producer.rows import Row, error_text, size_bytes
from perfmon.producer.window import Window
from perfmon.wire import (
    CREDIT_LAPSE_S,
    CREDIT_PROBE_S,
    INITIAL_CREDIT_BYTES,
    MAX_ERROR_CHARS,
    MAX_FRAME_BYTES,
    MAX_IN_FLIGHT,
    Kind,
    unpack,
)
from tests.fakes.fake_ingest import rows_of

ROW: Row = ("server", "tool", 1.5, True, None, None, None, None, 1_000, None, 256)


def _ack(seq: object = 1, **fields: object) -> dict[str, object]:
    return {
        "producer": "p",
        "seq": seq,
        "stored": 0,
        "duplicates": 0,
        "rejected": [],
        "rejectedTotal": 0,
        **fields,
    }


def _under_way(rows: int = 3, messages: int = 1) -> Delivery:
    """A delivery with so many messages out; tickets are 10, 20, …"""
    delivery = Delivery("p")
    delivery.connected(0.0)
    for number in range(messages):
        delivery.add(10 * (number + 1), build_message([ROW] * rows), 0.0)
        assert delivery.next_frame(0.0) is not None
        delivery.sent(0.0)
    return delivery


def _sequences(delivery: Delivery, now_s: float) -> list[int]:
    """All that may be sent now, sent."""
    found = []
    while (frame := delivery.next_frame(now_s)) is not None:
        found.append(unpack(frame)["seq"])
        delivery.sent(now_s)
    return found


def test_an_acknowledged_message_is_done_and_the_next_has_the_next_sequence() -> None:
    delivery = _under_way()
    assert delivery.answered(Kind.ACK, _ack(stored=3), 0.1) == Verdict(10, acknowledged=3)
    assert delivery.idle
    delivery.add(20, build_message([ROW]), 1.0)
    assert _sequences(delivery, 1.0) == [2]


def test_messages_go_without_waiting_for_answers_which_may_come_in_any_order() -> None:
    delivery = _under_way(messages=3)
    assert [delivery.answered(Kind.ACK, _ack(seq), 0.1).ticket for seq in (2, 1, 3)] == [20, 10, 30]
    assert delivery.idle
    assert (delivery.frames_bytes, delivery.window.out_bytes) == (0, 0)


def test_rejected_rows_are_counted_with_the_first_reason() -> None:
    body = _ack(stored=1, rejected=[[0, "bad_duration"]], rejectedTotal=2)
    assert _under_way().answered(Kind.ACK, body, 0.1) == Verdict(
        10, acknowledged=1, rejected=2, reason="bad_duration", reasons={"bad_duration": 1}
    )


def test_duplicates_are_acknowledged_rows() -> None:
    verdict = _under_way().answered(Kind.ACK, _ack(duplicates=3), 0.1)
    assert (verdict.acknowledged, verdict.duplicates) == (3, 3)


def test_without_answers_all_goes_again_in_order_with_longer_time_outs() -> None:
    delivery, now_s, waits = _under_way(messages=3), 0.0, []
    for _ in range(6):
        waits.append(delivery.wait_s(now_s))
        assert not delivery.overdue(now_s + waits[-1] / 2)
        now_s += waits[-1]
        assert delivery.overdue(now_s)
        assert delivery.connected(now_s) == 3
        assert _sequences(delivery, now_s) == [1, 2, 3]
    assert waits[:3] == [ACK_TIMEOUT_S, 2 * ACK_TIMEOUT_S, 4 * ACK_TIMEOUT_S]
    assert max(waits) == MAX_ACK_TIMEOUT_S


def test_any_answer_puts_the_time_out_off() -> None:
    delivery = _under_way(messages=2)
    delivery.answered(Kind.ACK, _ack(1), 0.9 * ACK_TIMEOUT_S)
    assert not delivery.overdue(1.5 * ACK_TIMEOUT_S)
    assert delivery.overdue(2 * ACK_TIMEOUT_S)


def test_nothing_is_overdue_when_nothing_is_out() -> None:
    delivery = _under_way()
    delivery.answered(Kind.ACK, _ack(), 0.1)
    assert not delivery.overdue(1e9)


@pytest.mark.parametrize("code", sorted(TRY_AGAIN))
def test_a_passing_refusal_is_tried_again_after_growing_pauses(code: str) -> None:
    delivery = _under_way()
    pauses, now_s = [], 0.0
    for _ in range(8):
        verdict = delivery.answered(Kind.ACK, _ack(error={"code": code, "message": "x"}), now_s)
        assert verdict == Verdict(reason=code)
        assert (delivery.next_frame(now_s), delivery.appetite_bytes(now_s)) == (None, 0)
        pauses.append(delivery.wait_s(now_s))
        now_s += pauses[-1]
        assert _sequences(delivery, now_s) == [1]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_RETRY_PAUSE_S


def test_what_is_refused_for_now_goes_again_in_order_and_before_anything_new() -> None:
    delivery = _under_way(messages=4)
    error = {"code": "journal_full", "message": "x"}
    for seq in (3, 1, 2):
        delivery.answered(Kind.ACK, _ack(seq, error=error), 0.1)
    later_s = 0.1 + delivery.wait_s(0.1)
    assert delivery.appetite_bytes(later_s) == 0
    assert _sequences(delivery, later_s) == [1, 2, 3]


def test_a_lasting_refusal_is_given_up_and_counted() -> None:
    verdict = _under_way().answered(Kind.ACK, _ack(error={"code": "bad_message", "message": "x"}), 0.1)
    assert verdict == Verdict(10, rejected=3, reason="refused: bad_message", reasons={"bad_message": 3})


def test_an_error_reply_is_a_refusal_of_the_oldest_message() -> None:
    body = {"id": "", "ok": False, "error": {"code": "unsupported_version", "message": "x"}}
    delivery = _under_way(messages=2)
    verdict = delivery.answered(Kind.REPLY, body, 0.1)
    assert verdict[:6] == (10, 0, 0, 0, 3, "refused: unsupported_version")
    assert verdict.reasons == {"unsupported_version": 3}
    assert delivery.answered(Kind.REPLY, body, 0.1).ticket == 20
    assert delivery.answered(Kind.REPLY, body, 0.1) == NOTHING


@pytest.mark.parametrize(
    "fields", [{"seq": 99}, {"seq": None}, {"producer": "another"}, {"producer": None}, {"seq": True}, {"seq": [1]}]
)
def test_an_answer_to_something_else_settles_nothing(fields: dict[str, object]) -> None:
    delivery = _under_way()
    assert delivery.answered(Kind.ACK, _ack() | fields, 0.1) == NOTHING
    assert not delivery.idle


def test_a_late_answer_settles_a_message_that_was_to_go_again() -> None:
    delivery = _under_way(messages=2)
    delivery.connected(1.0)
    assert delivery.answered(Kind.ACK, _ack(1, stored=3), 1.1).acknowledged == 3
    assert _sequences(delivery, 1.2) == [2]
    assert delivery.answered(Kind.ACK, _ack(1, stored=3), 1.2) == NOTHING


def test_a_frame_beyond_the_limit_is_never_sent() -> None:
    delivery = Delivery("p")
    message = Message(Kind.BATCH, {"n": 7, "ts": bytes(MAX_FRAME_BYTES)}, 7)
    assert delivery.add(5, message, 0.0) == Verdict(
        5, rejected=7, reason="frame_too_large", reasons={"frame_too_large": 7}
    )
    assert delivery.idle


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "rejectedTotal": st.one_of(st.integers(), st.none(), st.sampled_from(["", "x"])),
            "duplicates": st.one_of(st.integers(), st.floats(), st.none()),
            "rejected": st.one_of(st.none(), st.lists(st.lists(st.integers()))),
            "credit": st.one_of(st.none(), st.integers(), st.booleans(), st.text()),
            "error": st.one_of(
                st.none(), st.sampled_from(["", "x"]), st.dictionaries(st.sampled_from(["", "x"]), st.integers())
            ),
        },
    )
)
def test_whatever_an_answer_holds_every_row_is_counted_once(fields: dict[str, object]) -> None:
    delivery = _under_way(5)
    verdict = delivery.answered(Kind.ACK, _ack(**fields), 0.1)
    assert verdict.ticket == 10
    assert verdict.acknowledged + verdict.rejected == 5
    assert 0 <= verdict.duplicates <= verdict.acknowledged
    assert delivery.window.credit(0.1) >= 0


def test_fire_and_forget_is_done_when_the_socket_took_it_and_names_no_sequence() -> None:
    delivery = Delivery(None)
    assert delivery.appetite_bytes(0.0) == LARGE_MESSAGE_BYTES
    delivery.add(10, build_message([ROW, ROW]), 0.0)
    assert {"producer", "seq"}.isdisjoint(unpack(delivery.next_frame(0.0) or b""))
    assert delivery.sent(0.0) == Verdict(10, sent=2)
    assert delivery.idle


# --- credit -------------------------------------------------------------------------------------------------------


def test_a_new_connection_has_the_initial_window() -> None:
    window = Window()
    window.told(0, 0.0)
    window.connected(1.0)
    assert window.left(1.0) == INITIAL_CREDIT_BYTES
    assert not window.allows(INITIAL_CREDIT_BYTES, 1.0) or window.out_bytes == 0


def test_what_is_out_and_the_next_message_stay_within_the_window() -> None:
    window = Window()
    window.told(100, 0.0)
    window.sent(60, 0.0)
    assert window.allows(40, 0.0)
    assert not window.allows(41, 0.0)
    window.settled(60)
    assert window.allows(1_000, 0.0)  # alone it may be larger


def test_without_credit_nothing_goes_but_a_probe_now_and_then() -> None:
    window = Window()
    window.told(0, 10.0)
    assert not window.allows(1, 10.0 + CREDIT_PROBE_S - 0.1)
    assert window.wait_s(10.0) == CREDIT_PROBE_S
    assert window.allows(1_000_000, 10.0 + CREDIT_PROBE_S)
    window.sent(1_000_000, 20.0)
    assert not window.allows(1, 20.0)
    assert window.allows(1, 20.0 + CREDIT_PROBE_S)


def test_a_window_that_is_not_renewed_lapses_to_the_initial_one_unless_it_was_less() -> None:
    window = Window()
    for credit, later in ((10 * INITIAL_CREDIT_BYTES, INITIAL_CREDIT_BYTES), (5, 5), (0, 0)):
        window.told(credit, 0.0)
        assert window.credit(CREDIT_LAPSE_S - 0.1) == credit
        assert window.credit(CREDIT_LAPSE_S) == later


def test_a_credit_message_widens_the_window() -> None:
    delivery = _under_way()
    delivery.answered(Kind.ACK, _ack(credit=0), 0.1)
    assert delivery.appetite_bytes(0.1) == 0
    assert delivery.answered(Kind.CREDIT, {"v": 1, "kind": "credit", "credit": 50_000}, 0.2) == NOTHING
    assert delivery.appetite_bytes(0.2) == 50_000
    delivery.answered(Kind.CREDIT, {"v": 1, "kind": "credit", "credit": 10}, 0.3)
    assert delivery.appetite_bytes(0.3) == SMALL_MESSAGE_BYTES


def test_no_more_messages_are_in_flight_than_ingest_tells_apart() -> None:
    delivery = Delivery("p")
    delivery.connected(0.0)
    while delivery.appetite_bytes(0.0):
        delivery.add(delivery.seq, build_message([ROW]), 0.0)
        assert _sequences(delivery, 0.0)
    assert delivery.seq == MAX_IN_FLIGHT
    delivery.answered(Kind.ACK, _ack(2), 0.1)
    assert delivery.appetite_bytes(0.1) == 0  # the first of them holds the others
    delivery.answered(Kind.ACK, _ack(1), 0.1)
    assert delivery.appetite_bytes(0.1) > 0


def test_frames_that_are_kept_are_bounded_whatever_credit_there_is() -> None:
    delivery = Delivery("p")
    delivery.connected(0.0)
    delivery.window.told(1 << 40, 0.0)
    while delivery.appetite_bytes(0.0):
        delivery.add(delivery.seq, Message(Kind.BATCH, {"n": 1, "ts": bytes(300_000)}, 1), 0.0)
        assert _sequences(delivery, 0.0)
    assert MAX_IN_FLIGHT_BYTES <= delivery.frames_bytes < MAX_IN_FLIGHT_BYTES + 400_000


@settings(deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 200_000), min_size=1, max_size=60))
def test_whatever_credit_comes_the_window_is_kept_and_all_is_delivered_once(seed: int, credits_: list[int]) -> None:
    # An ingest that answers at random, refuses, loses the connection, and grants what it likes; at last it lets all through.
    chance = random.Random(seed)
    delivery, now_s, stored, settled, tickets = Delivery("p"), 0.0, set[int](), [], 0
    delivery.connected(now_s)
    out: dict[int, int] = {}
    for credit in [*credits_, *[1_000_000] * 400]:
        now_s += chance.choice((0.01, 0.5, 6.0))
        if delivery.appetite_bytes(now_s) and tickets < 100:
            tickets += 1
            delivery.add(tickets, Message(Kind.BATCH, {"n": 1, "x": bytes(chance.randint(1, 50_000))}, 1), now_s)
        allowed, before = delivery.window.credit(now_s), delivery.window.out_bytes
        frame = delivery.next_frame(now_s)
        if frame is not None:
            assert before == 0 or before + len(frame) <= allowed or allowed == 0
            delivery.sent(now_s)
            out[unpack(frame)["seq"]] = len(frame)
        assert delivery.window.out_bytes == sum(out.values())
        if out and chance.random() < 0.7:
            seq = chance.choice(list(out))
            calm = credit == 1_000_000
            error = None if calm or chance.random() < 0.7 else {"code": "disk_full"}
            verdict = delivery.answered(Kind.ACK, _ack(seq, credit=credit) | ({"error": error} if error else {}), now_s)
            del out[seq]
            if not error:
                stored.add(seq)
                settled.append(verdict.ticket)
        if chance.random() < 0.05 or delivery.overdue(now_s):
            delivery.connected(now_s)
            out.clear()
    assert delivery.idle
    assert sorted(settled) == list(range(1, tickets + 1))
    assert len(stored) == tickets


# --- rows and columns ---------------------------------------------------------------------------------------------


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
