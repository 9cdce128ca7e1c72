"""Lines from a byte stream, whatever the pieces, and the answer to one that is no message."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.core.lines import LineSplitter, Oversize, unreadable_reply


def fed(pieces: list[bytes], limit_bytes: int = 1_000) -> list[bytes | Oversize]:
    splitter = LineSplitter(limit_bytes)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return [*lines, *splitter.rest()]


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), max_size=20), st.data())
def test_lines_are_the_same_however_the_stream_is_cut(lines, data):
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    edges = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    assert fed(pieces) == lines


def test_a_last_line_without_a_newline_is_a_line():
    assert fed([b"one\ntw", b"o"]) == [b"one", b"two"]


@pytest.mark.parametrize("pieces", [[b"x" * 2_000 + b"\nok\n"], [b"x" * 900, b"x" * 900, b"x" * 900 + b"\nok\n"]])
def test_a_line_beyond_the_limit_is_skipped_to_its_end_and_the_next_one_is_read(pieces):
    assert fed(pieces) == [Oversize(1_000), b"ok"]


def test_a_line_beyond_the_limit_is_not_kept_in_memory():
    splitter = LineSplitter(1_000)
    for _ in range(1_000):
        assert list(splitter.feed(b"x" * 1_000)) in ([], [])
    assert len(splitter._held) <= 1_000


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        (b"not json", -32700, None),
        (b"\xff\xfe", -32700, None),
        (b"[" * 100_000, -32700, None),
        (b"[]", -32600, None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600, None),
        (b"5", -32600, None),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600, 1),
        (b'{"jsonrpc":"2.0","id":"a","method":5}', -32600, "a"),
        (b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":[1]}', -32600, 7),
        (b'{"jsonrpc":"2.0","id":8,"method":"x","params":{"n":"\\ud800"}}', -32600, 8),
        (b'{"jsonrpc":"2.0","id":{"a":1},"method":"x"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":true,"method":"x"}', -32600, None),
        (Oversize(1_000), -32700, None),
    ],
)
def test_an_unreadable_line_is_answered_with_its_id_where_there_is_one(line, code, request_id):
    reply = unreadable_reply(line)
    assert reply.endswith(b"\n")
    assert reply.count(b"\n") == 1
    body = json.loads(reply)
    assert body["jsonrpc"] == "2.0"
    assert body["id"] == request_id
    assert body["error"]["code"] == code
