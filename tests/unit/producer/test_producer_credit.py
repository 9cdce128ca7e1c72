"""How much a producer may have under way: the window that ingest grants, and the limits that hold without it."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from perfmon.producer.delivery import MAX_IN_FLIGHT_BYTES, NOTHING, SMALL_MESSAGE_BYTES, Delivery
from perfmon.producer.messages import Message, build_message
from perfmon.producer.window import Window
from perfmon.wire import CREDIT_LAPSE_S, CREDIT_PROBE_S, INITIAL_CREDIT_BYTES, MAX_IN_FLIGHT, Kind, unpack
from tests.unit.producer.delivery_kit import ROW, ack, sequences, under_way


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
    delivery = under_way()
    delivery.answered(Kind.ACK, ack(credit=0), 0.1)
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
        assert sequences(delivery, 0.0)
    assert delivery.seq == MAX_IN_FLIGHT
    delivery.answered(Kind.ACK, ack(2), 0.1)
    assert delivery.appetite_bytes(0.1) == 0  # the first of them holds the others
    delivery.answered(Kind.ACK, ack(1), 0.1)
    assert delivery.appetite_bytes(0.1) > 0


def test_frames_that_are_kept_are_bounded_whatever_credit_there_is() -> None:
    delivery = Delivery("p")
    delivery.connected(0.0)
    delivery.window.told(1 << 40, 0.0)
    while delivery.appetite_bytes(0.0):
        delivery.add(delivery.seq, Message(Kind.BATCH, {"n": 1, "ts": bytes(300_000)}, 1), 0.0)
        assert sequences(delivery, 0.0)
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
            verdict = delivery.answered(Kind.ACK, ack(seq, credit=credit) | ({"error": error} if error else {}), now_s)
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
