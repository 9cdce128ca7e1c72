"""What a producer sends, sends again and gives up: decided without sockets."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmon.producer.delivery import (
    ACK_TIMEOUT_S,
    LARGE_MESSAGE_BYTES,
    MAX_ACK_TIMEOUT_S,
    MAX_RETRY_PAUSE_S,
    NOTHING,
    TRY_AGAIN,
    Delivery,
    Verdict,
)
from perfmon.producer.messages import Message, build_message
from perfmon.wire import MAX_FRAME_BYTES, Kind, unpack
from tests.unit.producer.delivery_kit import ROW, ack, sequences, under_way


def test_an_acknowledged_message_is_done_and_the_next_has_the_next_sequence() -> None:
    delivery = under_way()
    assert delivery.answered(Kind.ACK, ack(stored=3), 0.1) == Verdict(10, acknowledged=3)
    assert delivery.idle
    delivery.add(20, build_message([ROW]), 1.0)
    assert sequences(delivery, 1.0) == [2]


def test_messages_go_without_waiting_for_answers_which_may_come_in_any_order() -> None:
    delivery = under_way(messages=3)
    assert [delivery.answered(Kind.ACK, ack(seq), 0.1).ticket for seq in (2, 1, 3)] == [20, 10, 30]
    assert delivery.idle
    assert (delivery.frames_bytes, delivery.window.out_bytes) == (0, 0)


def test_rejected_rows_are_counted_with_the_first_reason() -> None:
    body = ack(stored=1, rejected=[[0, "bad_duration"]], rejectedTotal=2)
    assert under_way().answered(Kind.ACK, body, 0.1) == Verdict(
        10, acknowledged=1, rejected=2, reason="bad_duration", reasons={"bad_duration": 1}
    )


def test_duplicates_are_acknowledged_rows() -> None:
    verdict = under_way().answered(Kind.ACK, ack(duplicates=3), 0.1)
    assert (verdict.acknowledged, verdict.duplicates) == (3, 3)


def test_without_answers_all_goes_again_in_order_with_longer_time_outs() -> None:
    delivery, now_s, waits = under_way(messages=3), 0.0, []
    for _ in range(6):
        waits.append(delivery.wait_s(now_s))
        assert not delivery.overdue(now_s + waits[-1] / 2)
        now_s += waits[-1]
        assert delivery.overdue(now_s)
        assert delivery.connected(now_s) == 3
        assert sequences(delivery, now_s) == [1, 2, 3]
    assert waits[:3] == [ACK_TIMEOUT_S, 2 * ACK_TIMEOUT_S, 4 * ACK_TIMEOUT_S]
    assert max(waits) == MAX_ACK_TIMEOUT_S


def test_any_answer_puts_the_time_out_off() -> None:
    delivery = under_way(messages=2)
    delivery.answered(Kind.ACK, ack(1), 0.9 * ACK_TIMEOUT_S)
    assert not delivery.overdue(1.5 * ACK_TIMEOUT_S)
    assert delivery.overdue(2 * ACK_TIMEOUT_S)


def test_nothing_is_overdue_when_nothing_is_out() -> None:
    delivery = under_way()
    delivery.answered(Kind.ACK, ack(), 0.1)
    assert not delivery.overdue(1e9)


@pytest.mark.parametrize("code", sorted(TRY_AGAIN))
def test_a_passing_refusal_is_tried_again_after_growing_pauses(code: str) -> None:
    delivery = under_way()
    pauses, now_s = [], 0.0
    for _ in range(8):
        verdict = delivery.answered(Kind.ACK, ack(error={"code": code, "message": "x"}), now_s)
        assert verdict == Verdict(reason=code)
        assert (delivery.next_frame(now_s), delivery.appetite_bytes(now_s)) == (None, 0)
        pauses.append(delivery.wait_s(now_s))
        now_s += pauses[-1]
        assert sequences(delivery, now_s) == [1]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_RETRY_PAUSE_S


def test_what_is_refused_for_now_goes_again_in_order_and_before_anything_new() -> None:
    delivery = under_way(messages=4)
    error = {"code": "journal_full", "message": "x"}
    for seq in (3, 1, 2):
        delivery.answered(Kind.ACK, ack(seq, error=error), 0.1)
    later_s = 0.1 + delivery.wait_s(0.1)
    assert delivery.appetite_bytes(later_s) == 0
    assert sequences(delivery, later_s) == [1, 2, 3]


def test_a_lasting_refusal_is_given_up_and_counted() -> None:
    verdict = under_way().answered(Kind.ACK, ack(error={"code": "bad_message", "message": "x"}), 0.1)
    assert verdict == Verdict(10, rejected=3, reason="refused: bad_message", reasons={"bad_message": 3})


def test_an_error_reply_is_a_refusal_of_the_oldest_message() -> None:
    body = {"id": "", "ok": False, "error": {"code": "unsupported_version", "message": "x"}}
    delivery = under_way(messages=2)
    verdict = delivery.answered(Kind.REPLY, body, 0.1)
    assert verdict[:6] == (10, 0, 0, 0, 3, "refused: unsupported_version")
    assert verdict.reasons == {"unsupported_version": 3}
    assert delivery.answered(Kind.REPLY, body, 0.1).ticket == 20
    assert delivery.answered(Kind.REPLY, body, 0.1) == NOTHING


@pytest.mark.parametrize(
    "fields", [{"seq": 99}, {"seq": None}, {"producer": "another"}, {"producer": None}, {"seq": True}, {"seq": [1]}]
)
def test_an_answer_to_something_else_settles_nothing(fields: dict[str, object]) -> None:
    delivery = under_way()
    assert delivery.answered(Kind.ACK, ack() | fields, 0.1) == NOTHING
    assert not delivery.idle


def test_a_late_answer_settles_a_message_that_was_to_go_again() -> None:
    delivery = under_way(messages=2)
    delivery.connected(1.0)
    assert delivery.answered(Kind.ACK, ack(1, stored=3), 1.1).acknowledged == 3
    assert sequences(delivery, 1.2) == [2]
    assert delivery.answered(Kind.ACK, ack(1, stored=3), 1.2) == NOTHING


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
    delivery = under_way(5)
    verdict = delivery.answered(Kind.ACK, ack(**fields), 0.1)
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
