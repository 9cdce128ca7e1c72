"""What a producer sends, sends again and gives up: decided without sockets."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmon.producer.delivery import (
    ACK_TIMEOUT_S,
    MAX_ACK_TIMEOUT_S,
    MAX_RETRY_PAUSE_S,
    TRY_AGAIN,
    Delivery,
    Phase,
    Verdict,
)
from perfmon.producer.rows import Row, build_message, error_text, problem
from perfmon.wire import MAX_ERROR_CHARS, MAX_FRAME_BYTES, Kind, unpack

ROW: Row = ("server", "tool", 1.5, True, None, None, None, None, 1_000, None)


def _ack(delivery: Delivery, **fields: object) -> dict[str, object]:
    return {
        "producer": "p",
        "seq": delivery.seq,
        "stored": 0,
        "duplicates": 0,
        "rejected": [],
        "rejectedTotal": 0,
        **fields,
    }


def _under_way(rows: int = 3) -> Delivery:
    delivery = Delivery("p")
    delivery.load([ROW] * rows, 0.0)
    delivery.sent(0.0)
    return delivery


def test_an_acknowledged_message_is_done_and_the_next_has_the_next_sequence() -> None:
    delivery = _under_way()
    assert delivery.answered(Kind.ACK, _ack(delivery, stored=3), 0.1) == Verdict(True, acknowledged=3)
    assert delivery.phase is Phase.IDLE
    delivery.load([ROW], 1.0)
    assert delivery.seq == 2
    assert unpack(delivery.frame)["seq"] == 2


def test_rejected_rows_are_counted_with_the_first_reason() -> None:
    delivery = _under_way()
    body = _ack(delivery, stored=1, rejected=[[0, "bad_duration"]], rejectedTotal=2)
    assert delivery.answered(Kind.ACK, body, 0.1) == Verdict(True, acknowledged=1, rejected=2, reason="bad_duration")


def test_duplicates_are_acknowledged_rows() -> None:
    delivery = _under_way()
    verdict = delivery.answered(Kind.ACK, _ack(delivery, duplicates=3), 0.1)
    assert (verdict.acknowledged, verdict.duplicates) == (3, 3)


def test_an_overdue_message_goes_again_under_the_same_sequence_with_longer_time_outs() -> None:
    delivery = _under_way()
    frame, now_s, waits = delivery.frame, 0.0, []
    for _ in range(6):
        waits.append(delivery.wait_s(now_s))
        now_s += delivery.wait_s(now_s)
        assert delivery.timed_out(now_s)
        assert delivery.frame == frame
        delivery.sent(now_s)
    assert waits[:3] == [ACK_TIMEOUT_S, 2 * ACK_TIMEOUT_S, 4 * ACK_TIMEOUT_S]
    assert max(waits) == MAX_ACK_TIMEOUT_S
    assert not delivery.timed_out(now_s)


@pytest.mark.parametrize("code", sorted(TRY_AGAIN))
def test_a_passing_refusal_is_tried_again_after_growing_pauses(code: str) -> None:
    delivery = _under_way()
    pauses, now_s = [], 0.0
    for _ in range(8):
        verdict = delivery.answered(Kind.ACK, _ack(delivery, error={"code": code, "message": "x"}), now_s)
        assert verdict == Verdict(False, reason=code)
        pauses.append(delivery.wait_s(now_s))
        now_s += pauses[-1]
        delivery.sent(now_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_RETRY_PAUSE_S


def test_a_lasting_refusal_is_given_up_and_counted() -> None:
    delivery = _under_way()
    verdict = delivery.answered(Kind.ACK, _ack(delivery, error={"code": "bad_message", "message": "x"}), 0.1)
    assert verdict == Verdict(True, rejected=3, reason="refused: bad_message")


def test_an_error_reply_of_an_older_ingest_is_a_refusal() -> None:
    delivery = _under_way()
    body = {"id": "", "ok": False, "error": {"code": "unsupported_version", "message": "x"}}
    assert delivery.answered(Kind.REPLY, body, 0.1).rejected == 3


@pytest.mark.parametrize(
    "fields", [{"seq": 99}, {"seq": None}, {"producer": "another"}, {"producer": None}, {"seq": True}]
)
def test_an_answer_to_something_else_settles_nothing(fields: dict[str, object]) -> None:
    delivery = _under_way()
    delivery.load([ROW], 0.0)  # sequence 2, so that True == 1 is not it either
    assert delivery.answered(Kind.ACK, _ack(delivery, **fields), 0.1) == Verdict(False)


def test_a_late_answer_settles_a_message_that_was_to_go_again() -> None:
    delivery = _under_way()
    assert delivery.timed_out(ACK_TIMEOUT_S)
    assert delivery.answered(Kind.ACK, _ack(delivery, stored=3), 1.1).acknowledged == 3
    assert delivery.answered(Kind.ACK, _ack(delivery, stored=3), 1.2) == Verdict(False)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "rejectedTotal": st.one_of(st.integers(), st.none(), st.sampled_from(["", "x"])),
            "duplicates": st.one_of(st.integers(), st.floats(), st.none()),
            "rejected": st.one_of(st.none(), st.lists(st.lists(st.integers()))),
            "error": st.one_of(
                st.none(), st.sampled_from(["", "x"]), st.dictionaries(st.sampled_from(["", "x"]), st.integers())
            ),
        },
    )
)
def test_whatever_an_answer_holds_every_row_is_counted_once(fields: dict[str, object]) -> None:
    delivery = _under_way(5)
    verdict = delivery.answered(Kind.ACK, _ack(delivery, **fields), 0.1)
    assert verdict.done
    assert verdict.acknowledged + verdict.rejected == 5
    assert 0 <= verdict.duplicates <= verdict.acknowledged


def test_fire_and_forget_is_done_when_the_socket_took_it_and_names_no_sequence() -> None:
    delivery = Delivery(None)
    delivery.load([ROW, ROW], 0.0)
    assert {"producer", "seq"}.isdisjoint(unpack(delivery.frame))
    assert delivery.sent(0.0) == Verdict(True, sent=2)


def test_a_row_has_the_seeds_field_names_and_leaves_out_what_was_not_measured() -> None:
    full: Row = ("s", "t", 1.5, False, "boom", 12.5, 128.0, 4.0, 1_000, "toolu_1")
    assert unpack(build_message([ROW, full], producer=None, seq=None).frame)["rows"] == [
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
        ("s" * 2_000, "t", 1.0, True, None, None, None, None, 1, None),
        ("s", "t", 1.0, True, None, None, None, None, 1, "c" * 300),
        ("s", "t", object(), True, None, None, None, None, 1, None),
        ("s", "t", 1.0, True, None, None, None, None, 2**80, None),
    ]
    mended: list[Row] = [
        ("s\ud800", "t", 1.0, False, "file \udcff missing", None, None, None, 1, None),
        ("s", "t", _NumberOfAnotherLibrary(), True, None, _NumberOfAnotherLibrary(), None, None, 1, None),
    ]
    message = build_message([*hostile, *mended, ROW], producer="p", seq=1)
    assert (message.rows, message.rejected, message.reason) == (3, 4, "name_too_long")
    rows = unpack(message.frame)["rows"]
    assert rows[0]["mcpServer"] == "s\\ud800"
    assert rows[0]["error"] == "file \\udcff missing"
    assert (rows[1]["duration"], rows[1]["resource"]) == (2.5, {"cpu": 2.5})


def test_a_message_of_nothing_but_unsendable_rows_is_done_at_once() -> None:
    delivery = Delivery("p")
    bad: Row = ("s" * 2_000, "t", 1.0, True, None, None, None, None, 1, None)
    assert delivery.load([bad], 0.0) == Verdict(True, rejected=1, reason="name_too_long")
    assert (delivery.phase, delivery.seq) == (Phase.IDLE, 0)


def test_the_largest_message_fits_a_frame() -> None:
    worst: Row = (
        "\U0001f600" * 1024,
        "\U0001f600" * 1024,
        1.0,
        False,
        "\U0001f600" * 1000,
        1.0,
        1.0,
        1.0,
        1,
        "c" * 256,
    )
    assert len(build_message([worst] * 1000, producer="p", seq=1).frame) < MAX_FRAME_BYTES


def test_error_texts_name_the_class_and_are_cut() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_text(KeyError("x")) == "KeyError: 'x'"
    assert error_text(TimeoutError()) == "TimeoutError"
    assert error_text(Silent()).endswith("Silent")
    assert len(error_text("x" * 10_000_000)) == MAX_ERROR_CHARS


@pytest.mark.parametrize(
    ("server", "tool", "duration"),
    [
        ("", "t", 1),
        (None, "t", 1),
        ("s", b"t", 1),
        ("s", "t" * 2000, 1),
        ("s", "t", -1),
        ("s", "t", float("nan")),
        ("s", "t", float("inf")),
        ("s", "t", "1"),
        ("s", "t", True),
        ("s", "t", None),
    ],
)
def test_problems_are_named(server: object, tool: object, duration: object) -> None:
    assert problem(server, tool, duration)


def test_a_good_call_has_no_problem() -> None:
    assert problem("s", "t", 0) is None
