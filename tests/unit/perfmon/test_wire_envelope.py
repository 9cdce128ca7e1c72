"""One frame is one message: what is packed is unpacked, everything else is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmon.wire import (
    MAX_FRAME_BYTES,
    PROTOCOL_MAJOR,
    Kind,
    MalformedFrame,
    UnsupportedVersion,
    WireError,
    ack_reply,
    encode_batch,
    encode_rows,
    error_reply,
    ok_reply,
    pack,
    request,
    unpack,
    unpack_envelope,
)
from perfmon.wire.limits import MAX_CONTAINERS

_scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=9)
)
_values = st.recursive(
    _scalars | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(_values)
def test_what_is_packed_is_unpacked(value: Any) -> None:
    assert unpack(pack(value)) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    try:
        value = unpack(data)
    except MalformedFrame:
        return
    assert repr(unpack(pack(value))) == repr(value)


@given(st.binary(max_size=60))
def test_text_that_is_not_utf8_comes_back_as_it_came(raw: bytes) -> None:
    frame = b"\xd9" + bytes([len(raw)]) + raw
    text = unpack(frame)
    assert isinstance(text, str)
    assert unpack(pack(text)) == text
    assert pack(text).endswith(raw)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"\x93\x01",
        b"\x01\x02",
        b"\x91" * 5_000 + b"\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\x00\x10\x00\x00",
        b"\xc9\x00\x00\x00\x05\x01abcde",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\x81\x90\x01",
        b"\x81\x80\x01",
    ],
    ids=repr,
)
def test_what_is_not_one_object_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedFrame) as refused:
        unpack(frame)
    assert refused.value.reason == "not_msgpack"


def test_a_frame_over_the_limit_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(MalformedFrame) as refused:
        unpack(memoryview(bytes(MAX_FRAME_BYTES + 1)))
    assert refused.value.reason == "frame_too_large"
    assert unpack(b"\xc0", max_bytes=1) is None
    with pytest.raises(MalformedFrame):
        unpack(b"\xa1a", max_bytes=1)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (5, "not_a_map"),
        ([], "not_a_map"),
        (None, "not_a_map"),
        ({}, "no_envelope"),
        ({"v": 1}, "no_envelope"),
        ({"kind": "rows"}, "no_envelope"),
        ({"v": True, "kind": "rows"}, "no_envelope"),
        ({"v": 1.0, "kind": "rows"}, "no_envelope"),
        ({"v": "1", "kind": "rows"}, "no_envelope"),
        ({"v": 1, "kind": b"rows"}, "no_envelope"),
        ({"v": 1, "kind": None}, "no_envelope"),
        ({"v": PROTOCOL_MAJOR + 1, "kind": "rows"}, "unsupported_version"),
        ({"v": 0, "kind": "rows"}, "unsupported_version"),
        ({"v": -1, "kind": "rows"}, "unsupported_version"),
        ({"v": 2**63, "kind": "rows"}, "unsupported_version"),
    ],
    ids=repr,
)
def test_an_envelope_names_its_version_and_kind(message: object, reason: str) -> None:
    with pytest.raises(WireError) as refused:
        unpack_envelope(pack(message))
    assert refused.value.reason == reason
    assert isinstance(refused.value, UnsupportedVersion) == (reason == "unsupported_version")


@pytest.mark.parametrize("empty", [b"\x80", b"\x90"])
def test_a_frame_of_countless_empty_containers_is_refused_before_they_fill_the_memory(empty: bytes) -> None:
    def nested(many: int) -> bytes:
        part = MAX_CONTAINERS // 4 - 1
        return b"\x9f" + (b"\xdd" + part.to_bytes(4, "big") + empty * part) * many + b"\xc0" * (15 - many)

    assert len(unpack(nested(3))) == 15
    with pytest.raises(MalformedFrame, match="at most 400000 maps and lists") as refused:
        unpack(nested(5))
    assert refused.value.reason == "frame_too_large"


def test_a_newer_version_is_told_which_one_this_end_speaks() -> None:
    with pytest.raises(UnsupportedVersion, match=f"speaks version {PROTOCOL_MAJOR}"):
        unpack_envelope(pack({"v": PROTOCOL_MAJOR + 1, "kind": "rows"}))


def test_unknown_kinds_and_fields_pass_the_envelope() -> None:
    envelope = unpack_envelope(pack({"v": 1, "kind": "later", "more": 5}))
    assert (envelope.version, envelope.kind, envelope.body["more"]) == (1, "later", 5)


def test_the_builders_make_what_the_protocol_says() -> None:
    rows = unpack_envelope(encode_rows([{"a": 1}], producer="p", seq=3))
    assert rows.kind == Kind.ROWS
    assert rows.body == {"v": 1, "kind": "rows", "producer": "p", "seq": 3, "rows": [{"a": 1}]}
    assert unpack(encode_rows([])) == {"v": 1, "kind": "rows", "rows": []}
    assert unpack(request("i", "ping")) == {"v": 1, "kind": "request", "id": "i", "method": "ping", "params": {}}
    assert unpack(ok_reply("i", [1])) == {"v": 1, "kind": "reply", "id": "i", "ok": True, "result": [1]}
    assert unpack(error_reply("i", "busy", "wait", more=1))["error"] == {"code": "busy", "message": "wait", "more": 1}


def test_an_acknowledgement_has_an_error_only_when_nothing_was_stored() -> None:
    fields: dict[str, Any] = {
        "producer": "p",
        "seq": 1,
        "cumulative": 1,
        "stored": 1,
        "duplicates": 0,
        "rejected": [(3, "name_empty")],
        "rejected_total": 1,
        "epoch": "e",
        "entry": 7,
        "first_row": 2,
    }
    ack = unpack(ack_reply(**fields))
    assert ack["rejected"] == [[3, "name_empty"]]
    assert (ack["entry"], ack["firstRow"], ack["rejectedTotal"]) == (7, 2, 1)
    assert "error" not in ack
    assert unpack(ack_reply(**fields, error=("disk_full", "full")))["error"] == {"code": "disk_full", "message": "full"}


def test_a_batch_of_plain_sequences_has_little_endian_columns() -> None:
    body = unpack(
        encode_batch(
            [("s", "t")],
            series=[0],
            ts=[258],
            duration=[1.5],
            ok=[True],
            cpu=[2.0],
            errors={0: "e"},
            call_ids={0: "c"},
            producer="p",
            seq=1,
        )
    )
    assert body["series"] == b"\x00\x00"
    assert body["ts"] == b"\x02\x01" + b"\0" * 6
    assert body["duration"] == b"\0\0\0\0\0\0\xf8\x3f"
    assert body["ok"] == b"\x01"
    assert body["cpu"] == b"\0\0\0\0\0\0\0\x40"
    assert (body["errors"], body["callIds"], body["n"]) == ({0: "e"}, {0: "c"}, 1)
    assert "memory" not in body
    assert "diskIO" not in body


@pytest.mark.parametrize(("size", "width"), [(65_536, 2), (65_537, 4)])
def test_the_codes_of_a_long_dictionary_are_wide(size: int, width: int) -> None:
    body = unpack(encode_batch([("s", "t")] * size, series=[size - 1], ts=[0], duration=[0], ok=[1]))
    assert len(body["series"]) == width
    assert int.from_bytes(body["series"], "little") == size - 1
