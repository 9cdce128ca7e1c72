"""What the gate decides: who may connect, which message passes, and what became of connections."""

from __future__ import annotations

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from perfmon.wire import encode_rows, pack, request, unpack
from services.ingest.gate import handshakes
from services.ingest.gate.admission import turned_away
from services.ingest.gate.handshakes import Handshakes
from services.ingest.gate.zap import DOMAIN, judge

PUBLIC, _ = zmq.curve_keypair()
LISTED = {PUBLIC.decode(): "laptop"}
QUESTION = [b"1.0", b"7", DOMAIN, b"127.0.0.1", b"", b"CURVE", z85.decode(PUBLIC)]


def test_a_listed_key_is_let_in_and_known_by_it_later() -> None:
    judgement = judge(QUESTION, LISTED)
    assert (judgement.name, judgement.refused) == ("laptop", None)
    assert judgement.reply == [b"1.0", b"7", b"200", b"OK", PUBLIC, b""]


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ([*QUESTION[:6], b"\0" * 32], "key_not_listed"),
        ([*QUESTION[:5], b"NULL"], "not_curve"),
        ([*QUESTION[:5], b"PLAIN", b"user", b"password"], "not_curve"),
        ([*QUESTION[:6], b"short"], "not_curve"),
        ([b"2.0", *QUESTION[1:]], "not_curve"),
        ([], "not_curve"),
    ],
)
def test_anything_else_is_not(question: list[bytes], reason: str) -> None:
    judgement = judge(question, LISTED)
    assert judgement.refused == reason
    assert judgement.reply[2] == b"400"
    assert judgement.reply[4] == b""


@given(st.lists(st.binary(max_size=40), max_size=9))
def test_no_question_makes_it_fail_or_let_in_a_stranger(question: list[bytes]) -> None:
    assert judge(question, LISTED).name is None


def code(frame: bytes) -> tuple[str, str]:
    body = unpack(frame)
    assert body["ok"] is False
    return body["id"], body["error"]["code"]


@pytest.mark.parametrize("frame", [encode_rows([]), pack({"v": 1, "kind": "batch"}), request("1", "ping")])
def test_writes_and_ping_pass(frame: bytes) -> None:
    assert turned_away(PUBLIC.decode(), 2, frame, LISTED) is None
    assert turned_away(PUBLIC.decode(), 4, frame, LISTED) is None


@pytest.mark.parametrize(
    ("frame", "frames", "request_id", "reason"),
    [
        (request("1", "forget", {"day": "2025-01-01"}), 2, "1", "not_allowed_here"),
        (pack({"v": 1, "kind": "request", "id": 5, "method": ["ping"]}), 2, "", "not_allowed_here"),
        (pack({"v": 1, "kind": "entry", "id": "x"}), 2, "x", "unknown_kind"),
        (encode_rows([]), 5, "", "too_many_frames"),
        (b"", 2, "", "not_msgpack"),
    ],
)
def test_anything_else_is_turned_away_with_its_reason(frame: bytes, frames: int, request_id: str, reason: str) -> None:
    turned = turned_away(PUBLIC.decode(), frames, frame, LISTED)
    assert turned is not None
    assert turned.reason == reason
    assert code(turned.answer) == (request_id, reason)


def test_a_write_with_a_revoked_key_is_turned_away() -> None:
    turned = turned_away(PUBLIC.decode(), 2, encode_rows([]), {})
    assert turned is not None
    assert code(turned.answer) == ("", "key_not_listed")


@given(st.binary(max_size=200))
def test_no_frame_makes_it_fail(frame: bytes) -> None:
    turned_away(PUBLIC.decode(), 2, frame, LISTED)


def test_every_connection_comes_to_one_end() -> None:
    book = Handshakes(3.0)
    for _ in range(6):
        book.event(handshakes.ACCEPTED, 9, 0.0)
    book.event(handshakes.SUCCEEDED, 0, 0.1)
    book.event(handshakes.FAILED_AUTH, 400, 0.1)
    book.event(handshakes.FAILED_PROTOCOL, 0x11000001, 0.1)
    book.event(handshakes.FAILED_PROTOCOL, 0x10000000, 0.1)
    book.event(handshakes.FAILED_NO_DETAIL, 11, 3.0)
    for _ in range(5):
        book.event(handshakes.DISCONNECTED, 9, 3.0)
    book.tick(3.0)
    assert book.denied_total == {"wrong_keys": 1, "protocol_error": 1, "handshake_not_finished": 1}
    book.tick(3.1)
    assert book.denied_total["not_zmtp"] == 1
    assert (book.connections, book.accepted_total) == (1, 6)


def test_events_without_a_connection_are_no_failure() -> None:
    book = Handshakes(3.0)
    book.event(handshakes.SUCCEEDED, 0, 0.0)
    book.event(handshakes.ACCEPT_FAILED, 24, 0.0)
    book.tick(10.0)
    assert book.denied_total == {"not_accepted": 1}
