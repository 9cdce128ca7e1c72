"""A delivery with messages out, and what an ingest answers to them."""

from __future__ import annotations

from perfmon.producer.delivery import Delivery
from perfmon.producer.messages import build_message
from perfmon.producer.rows import Row
from perfmon.wire import unpack

ROW: Row = ("server", "tool", 1.5, True, None, None, None, None, 1_000, None, 256)


def ack(seq: object = 1, **fields: object) -> dict[str, object]:
    return {
        "producer": "p",
        "seq": seq,
        "stored": 0,
        "duplicates": 0,
        "rejected": [],
        "rejectedTotal": 0,
        **fields,
    }


def under_way(rows: int = 3, messages: int = 1) -> Delivery:
    """A delivery with so many messages out; tickets are 10, 20, …"""
    delivery = Delivery("p")
    delivery.connected(0.0)
    for number in range(messages):
        delivery.add(10 * (number + 1), build_message([ROW] * rows), 0.0)
        assert delivery.next_frame(0.0) is not None
        delivery.sent(0.0)
    return delivery


def sequences(delivery: Delivery, now_s: float) -> list[int]:
    """All that may be sent now, sent."""
    found = []
    while (frame := delivery.next_frame(now_s)) is not None:
        found.append(unpack(frame)["seq"])
        delivery.sent(now_s)
    return found
