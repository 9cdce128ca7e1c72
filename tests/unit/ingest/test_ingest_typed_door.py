"""The fast way in and the strict one: whatever a frame holds, both let the same in and refuse the same."""

from __future__ import annotations

import math
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perfmon.wire import MAX_FRAME_BYTES, MAX_ROWS, OVERFLOW_NAME, Kind, WireError, encode_batch, encode_rows, pack
from perfmon.wire import unpack_envelope as unpack_strictly
from perfmon.wire.limits import MAX_FUTURE_MS
from services.ingest.core.door import Arrival, MessageRefused, let_in, producer_of
from services.ingest.core.frames import Body, Written, read
from shared.batch import Series
from tests.unit.ingest.door_kit import GOOD, NOW, OLDEST


class Pairs(list[tuple[Any, Any]]):
    """A map as a list of pairs, in which a key may come twice and need not be hashable."""


def packed(value: Any) -> bytes:
    """The msgpack bytes of a value with `Pairs` in it; lone surrogates become bytes that are no UTF-8."""
    if isinstance(value, dict):
        value = Pairs(value.items())
    if isinstance(value, Pairs):
        return _header(0x80, 0xDF, len(value)) + b"".join(packed(key) + packed(item) for key, item in value)
    if isinstance(value, list):
        return _header(0x90, 0xDD, len(value)) + b"".join(map(packed, value))
    data: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return data


def _header(short: int, long: int, size: int) -> bytes:
    return bytes([short | size]) if size < 16 else bytes([long]) + size.to_bytes(4, "big")


def seen(frame: bytes, *, strictly: bool) -> object:
    """All that a frame leads to."""
    try:
        kind, body = unpack_strictly(frame)[1:] if strictly else read(frame)
        return (kind, _claimed(body), _let_in(kind, body))
    except WireError as error:
        return error.reason


def _claimed(body: Body) -> object:
    try:
        return producer_of(body)
    except MessageRefused as refused:
        return refused.reason


def _let_in(kind: str, body: Body) -> object:
    try:
        arrival = let_in(kind, body, NOW, OLDEST)
    except MessageRefused as refused:
        return refused.reason, str(refused)
    batch = arrival.batch
    columns = (batch.codes, batch.ts, batch.duration, batch.ok, batch.cpu, batch.memory, batch.disk_io)
    shown = [None if column is None else (column.dtype.str, column.tobytes()) for column in columns]
    return batch.dictionary, shown, batch.errors, batch.call_ids, batch.paths, arrival.refused, arrival.rows


def assert_seen_alike(frame: bytes) -> None:
    assert seen(frame, strictly=False) == seen(frame, strictly=True)


def went_the_fast_way(frame: bytes) -> Arrival:
    """The arrival of a frame that was never unpacked into maps."""
    kind, body = read(frame)
    assert isinstance(body, Written)
    arrival = let_in(kind, _NotUnpacked(*body), NOW, OLDEST)
    assert_seen_alike(frame)
    return arrival


class _NotUnpacked(Written):
    def unpacked(self) -> dict[Any, Any]:
        raise AssertionError("the strict way was gone")


# --- what goes the fast way ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"timestamp": NOW, "resource": {"cpu": 1, "memory": 2.5, "diskIO": 0}},
        {"timestamp": "2025-10-31T13:00:00.123Z", "resource": None, "error": None, "callId": None},
        {"timestamp": None, "resource": {}, "error": "", "callId": "toolu_1"},
        {"resource": {"cpu": None, "memory": 3}, "success": False, "error": "no such file"},
        {"duration": -0.0, "resource": {"cpu": -0.0}},
        {"duration": 150},
    ],
    ids=repr,
)
def test_good_rows_go_the_fast_way(changes: dict[str, Any]) -> None:
    for rows in ([GOOD | changes], [GOOD, GOOD | changes, GOOD]):
        assert len(went_the_fast_way(encode_rows(rows, producer="p", seq=1)).batch) == len(rows)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"duration": -1}, "duration_out_of_range"),
        ({"duration": 2**64 - 1}, "duration_out_of_range"),
        ({"resource": {"cpu": -1}}, "cpu_out_of_range"),
        ({"resource": {"memory": math.inf}}, "memory_out_of_range"),
        ({"timestamp": NOW + MAX_FUTURE_MS + 1}, "timestamp_in_future"),
        ({"timestamp": 0}, "timestamp_too_old"),
        ({"mcpServer": ""}, "name_empty"),
        ({"toolName": OVERFLOW_NAME}, "name_reserved"),
        ({"toolName": "é" * 513}, "name_too_long"),
    ],
)
def test_a_value_out_of_range_does_not_cost_its_message_the_fast_way(changes: dict[str, Any], reason: str) -> None:
    arrival = went_the_fast_way(encode_rows([GOOD, GOOD | changes, GOOD]))
    assert arrival.refused.named == [(1, reason)]
    assert len(arrival.batch) == 2
    assert arrival.batch.dictionary == (Series("files", "read"),)


def batch_frame(**changes: Any) -> bytes:
    columns: dict[str, Any] = {
        "series": [0, 1],
        "ts": [NOW, NOW],
        "duration": [1.0, 2.0],
        "ok": [True, False],
        "cpu": [1.0, math.nan],
    }
    return encode_batch([("files", "read"), ("files", "write")], **columns | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"series": [1, 1]},
        {"series": [1, 0]},
        {"cpu": None, "memory": [1.0, 2.0]},
        {"errors": {1: "no such file"}, "call_ids": {0: "toolu_1"}},
        {"producer": "p", "seq": 7},
    ],
    ids=repr,
)
def test_good_batches_go_the_fast_way(changes: dict[str, Any]) -> None:
    for _ in range(2):  # the dictionary is known the second time
        assert len(went_the_fast_way(batch_frame(**changes)).batch) == 2


def test_series_without_a_row_leave_a_known_dictionary_too() -> None:
    for _ in range(2):
        assert went_the_fast_way(batch_frame(series=[1, 1])).batch.dictionary == (Series("files", "write"),)
        assert len(went_the_fast_way(batch_frame()).batch.dictionary) == 2


def test_a_bad_name_in_a_known_dictionary_is_refused_each_time() -> None:
    frame = encode_batch([("files", ""), ("f", "g")], series=[0, 1], ts=[NOW] * 2, duration=[1.0] * 2, ok=[True] * 2)
    for _ in range(3):
        assert went_the_fast_way(frame).refused.named == [(0, "name_empty")]


def test_a_series_that_comes_twice_in_a_known_dictionary_is_one() -> None:
    frame = encode_batch([("f", "g"), ("f", "g")], series=[0, 1], ts=[NOW] * 2, duration=[1.0] * 2, ok=[True] * 2)
    for _ in range(3):
        assert went_the_fast_way(frame).batch.codes.tolist() == [0, 0]


def test_a_frame_beyond_the_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(WireError) as refused:
        read(bytes(MAX_FRAME_BYTES + 1))
    assert refused.value.reason == "frame_too_large"


@pytest.mark.parametrize("kind", ["request", "reply", "metrics", ""])
def test_other_kinds_are_read_as_maps(kind: str) -> None:
    assert read(pack({"v": 1, "kind": kind, "id": "x"})) == (kind, {"v": 1, "kind": kind, "id": "x"})


# --- whatever comes -----------------------------------------------------------------------------------------------

_INTS = st.sampled_from(
    [0, 1, -1, 2, 150, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), NOW, 253_402_300_800_000]
)
_FLOATS = st.floats() | st.sampled_from(
    [0.0, -0.0, 1e9, math.nextafter(1e9, 2e9), 5e-324, math.nan, math.inf, -math.inf]
)
_TEXTS = st.sampled_from(
    [
        "",
        "files",
        "é",
        "\udc80",
        "a\ud800",
        "x" * 1_025,
        "x" * 257,
        OVERFLOW_NAME,
        "2025-10-31T13:00:00Z",
        "5",
        "kind",
        "\x00",
    ]
)
_SCALARS = (
    st.none()
    | st.booleans()
    | _INTS
    | _FLOATS
    | _TEXTS
    | st.binary(max_size=9)
    | st.sampled_from([msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2)])
)
_KEYS = st.sampled_from(["cpu", "memory", "diskIO", "rows", "v", "x", b"cpu", 0, None, 1.5])
_ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(_KEYS, inner), max_size=4).map(Pairs),
    max_leaves=6,
)
_NUMBERS = _FLOATS | _INTS | _ANYTHING
_MEASURED = st.none() | st.floats(0, 100) | _NUMBERS
_TIMES = (
    st.none()
    | st.sampled_from([NOW, OLDEST, NOW + 1, "2025-10-31T13:00:00.123Z", "2025-10-31T13:00:00"])
    | _INTS
    | _ANYTHING
)


def _mostly(good: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Good ones for the most part, so that whole messages are good now and then."""
    return st.integers(0, 9).flatmap(lambda dice: odd if dice == 0 else good)


_RESOURCES = _mostly(
    st.fixed_dictionaries(
        {}, optional={name: st.none() | st.floats(0, 50) | st.integers(0, 9) for name in ("cpu", "memory", "diskIO")}
    ),
    st.lists(st.tuples(_KEYS, _MEASURED), max_size=5).map(Pairs) | _ANYTHING,
)
_FIELDS = {
    "mcpServer": _mostly(st.sampled_from(["files", "git"]), _TEXTS | _ANYTHING),
    "toolName": _mostly(st.sampled_from(["read", "écrire"]), _TEXTS | _ANYTHING),
    "duration": _mostly(st.floats(0, 1e9) | st.integers(0, 10**9), _NUMBERS),
    "success": _mostly(st.booleans(), _ANYTHING),
}
_OPTIONAL = {
    "error": _mostly(st.none() | st.just("password=hunter2"), _TEXTS | _ANYTHING),
    "resource": _RESOURCES,
    "timestamp": _mostly(st.sampled_from([NOW, OLDEST, None, "2025-10-31T13:00:00.123+00:00"]), _TIMES),
    "callId": _mostly(st.none() | st.just("toolu_1"), _TEXTS | _ANYTHING),
}
_WHOLE_ROWS = st.fixed_dictionaries(_FIELDS, optional=_OPTIONAL)
_ODD_ROWS = (
    # Without a field, with another one, with one twice.
    st.tuples(
        _WHOLE_ROWS, st.lists(st.tuples(_KEYS | st.sampled_from([*_FIELDS, *_OPTIONAL]), _ANYTHING), max_size=2)
    ).map(lambda parts: Pairs([*parts[0].items(), *parts[1]]))
    | _WHOLE_ROWS.map(lambda row: Pairs(list(row.items())[1:]))
    | _ANYTHING
)
_ROWS = st.lists(_mostly(_WHOLE_ROWS, _ODD_ROWS), max_size=5)
_ENVELOPE = {
    "v": _mostly(st.just(1), st.sampled_from([0, 2, 1.0, True, "1", None])),
    "kind": _mostly(st.just("rows"), st.sampled_from(["batch", "request", b"rows", None, 1])),
    "rows": _mostly(_ROWS, _ANYTHING),
}
_PRODUCER = {
    "producer": _mostly(st.just("p"), _TEXTS | _ANYTHING),
    "seq": _mostly(st.integers(1, 9), _ANYTHING),
}
_MORE = st.lists(st.tuples(_KEYS | st.sampled_from(["kind", "seq", "later"]), _ANYTHING), max_size=1)


@st.composite
def _messages(draw: st.DrawFn, fields: dict[str, st.SearchStrategy[Any]]) -> bytes:
    pairs = list(draw(st.fixed_dictionaries(fields, optional=_PRODUCER)).items())
    if draw(st.integers(0, 3)) == 0:
        pairs += draw(_MORE)
    if draw(st.booleans()):
        pairs = draw(st.permutations(pairs))
    return packed(Pairs(pairs))


@given(_messages(_ENVELOPE))
@settings(max_examples=400, deadline=None)
@example(packed({"v": 1, "kind": "rows", "rows": []}))
@example(packed({"v": 1, "kind": "rows", "rows": [GOOD | {"timestamp": -1}, GOOD | {"duration": -1}]}))
@example(packed({"v": 1, "kind": "rows", "rows": [GOOD | {"timestamp": "5"}, GOOD | {"timestamp": 5}]}))
@example(packed({"v": 1, "kind": "rows", "rows": [GOOD | {"resource": {"cpu": math.nan}}, GOOD]}))
@example(
    packed({"v": 1, "kind": "rows", "rows": [GOOD | {"resource": {"cpu": math.nan}}, GOOD | {"resource": {"cpu": 1}}]})
)
@example(packed({"v": 1, "kind": "rows", "rows": [GOOD | {"error": "\udc80"}, GOOD | {"mcpServer": "\udcff"}]}))
@example(packed({"v": 1, "kind": "rows", "rows": [Pairs([*GOOD.items(), ("duration", "x")])]}))
@example(packed({"v": 1, "kind": "rows", "rows": [Pairs([("duration", "x"), *GOOD.items()])]}))
def test_rows_of_any_kind_get_the_same_verdict_both_ways(frame: bytes) -> None:
    assert_seen_alike(frame)


def _column(width: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=3 * width, max_size=3 * width)


def _doubles(values: st.SearchStrategy[float]) -> st.SearchStrategy[bytes]:
    return st.lists(values, min_size=3, max_size=3).map(lambda listed: struct.pack("<3d", *listed))


_MEASURED_COLUMN = _mostly(_doubles(st.floats(0, 1e5) | st.just(math.nan)), _doubles(_FLOATS) | _column(8) | _ANYTHING)
_SPARSE = _mostly(
    st.dictionaries(st.integers(0, 2) | st.sampled_from(["0", "2"]), st.sampled_from(["a", "token=abc"]), max_size=3),
    st.lists(
        st.tuples(st.integers(-1, 4) | st.sampled_from(["1", "3", True, b"0"]), _TEXTS | _ANYTHING), max_size=3
    ).map(Pairs)
    | _ANYTHING,
)
_PAIR = _mostly(
    st.sampled_from([["files", "read"], ["git", "log"]]), st.lists(_TEXTS, min_size=2, max_size=2) | _ANYTHING
)
_COLUMNS = {
    "v": st.just(1),
    "kind": st.just("batch"),
    "n": _mostly(st.just(3), st.sampled_from([0, -1, 2, 3.0, True, MAX_ROWS + 1, 2**64 - 1])),
    "dictionary": _mostly(st.lists(_PAIR, min_size=2, max_size=4), _ANYTHING),
    "series": _mostly(
        st.sampled_from([b"\0\0\1\0\1\0", b"\1\0\1\0\0\0", b"\0\0\0\0\1\0\0\0\0\0\0\0"]),
        _column(2) | _column(4) | _ANYTHING,
    ),
    "ts": _mostly(st.just(NOW.to_bytes(8, "little") * 3), _column(8) | _ANYTHING),
    "duration": _mostly(_doubles(st.floats(0, 1e9)), _doubles(_FLOATS) | _column(8) | _ANYTHING),
    "ok": _mostly(st.just(b"\1\0\1"), _column(1) | _ANYTHING),
}
_OPTIONAL_COLUMNS = {
    "cpu": _MEASURED_COLUMN,
    "memory": st.none() | _MEASURED_COLUMN,
    "diskIO": _MEASURED_COLUMN,
    "errors": _SPARSE,
    "callIds": st.none() | _SPARSE,
    "paths": st.just(["../evil"]),
}


@st.composite
def _batches(draw: st.DrawFn) -> bytes:
    pairs = list(draw(st.fixed_dictionaries(_COLUMNS, optional=_OPTIONAL_COLUMNS | _PRODUCER)).items())
    if draw(st.integers(0, 3)) == 0:
        again = draw(st.sampled_from([*_COLUMNS, *_OPTIONAL_COLUMNS, "later"]))
        pairs.insert(draw(st.integers(0, len(pairs))), (again, draw(_ANYTHING)))
    return packed(Pairs(pairs))


@given(_batches())
@settings(max_examples=400, deadline=None)
def test_batches_of_any_kind_get_the_same_verdict_both_ways(frame: bytes) -> None:
    assert_seen_alike(frame)


_SAMPLES = [
    encode_rows(
        [GOOD | {"resource": {"cpu": 1.5, "memory": None}, "timestamp": NOW, "error": "é", "callId": "c"}] * 2,
        producer="p",
        seq=1,
    ),
    batch_frame(producer="p", seq=1, errors={1: "é"}, call_ids={0: "c"}, memory=[1.0, 2.0]),
]


@given(
    st.sampled_from(_SAMPLES),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    st.integers(-40, 3),
)
@settings(max_examples=600, deadline=None)
def test_damaged_frames_get_the_same_verdict_both_ways(sample: bytes, flips: list[tuple[int, int]], cut: int) -> None:
    frame = bytearray(sample)
    for at, byte in flips:
        frame[at % len(frame)] = byte
    assert_seen_alike(bytes(frame[: len(frame) + min(cut, 0)]) + bytes(max(cut, 0)) if cut % 4 == 0 else bytes(frame))


@pytest.mark.parametrize("field", ["dictionary", "errors", "callIds", "ts", "rows", "later"])
def test_an_extension_type_is_refused_both_ways_wherever_it_stands(field: str) -> None:
    for inside in (lambda ext: ext, lambda ext: [ext], lambda ext: [[ext, "x"]], lambda ext: {0: ext}):
        body = {"v": 1, "kind": "batch", "n": 1, "dictionary": [["a", "b"]], "series": b"\0\0", "ts": bytes(8)}
        body |= {"duration": bytes(8), "ok": b"\1", field: inside(msgpack.ExtType(5, b"x"))}
        assert seen(packed(body), strictly=False) == seen(packed(body), strictly=True) == "not_msgpack"


@pytest.mark.parametrize("field", ["dictionary", "errors", "callIds"])
@pytest.mark.parametrize("first", [msgpack.ExtType(5, b"x"), 5, "\udc80", {0: "a", "b": []}], ids=repr)
def test_a_field_that_comes_twice_is_read_both_ways_alike(field: str, first: object) -> None:
    body = {
        "v": 1,
        "kind": "batch",
        "n": 1,
        "dictionary": [["a", "b"]],
        "series": b"\0\0",
        "ts": NOW.to_bytes(8, "little"),
    }
    body |= {"duration": bytes(8), "ok": b"\1", "errors": {0: "x"}, "callIds": {0: "y"}}
    assert_seen_alike(packed(Pairs([(field, first), *body.items()])))
    assert_seen_alike(packed(Pairs([*body.items(), (field, first)])))


def test_columns_that_are_nil_are_not_measured_both_ways() -> None:
    body = unpack_strictly(batch_frame()).body | dict.fromkeys(("cpu", "memory", "diskIO", "errors", "callIds"))
    assert went_the_fast_way(pack(body)).batch.cpu is None


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1a", b"\x81\x01"])
@pytest.mark.parametrize("depth", [5, 400, 1_000, 1_100, 100_000])
@pytest.mark.parametrize(
    "head",
    [
        b"\x83\xa1v\x01\xa4kind\xa4rows\xa4rows",
        b"\x83\xa1v\x01\xa4kind\xa5batch\xa6errors",
        b"\x83\xa1v\x01\xa4kind\xa4rows\xa5later",
    ],
)
def test_depth_is_refused_both_ways(head: bytes, opening: bytes, depth: int) -> None:
    assert_seen_alike(head + opening * depth + b"\xc0")


@pytest.mark.parametrize("many", [MAX_ROWS, MAX_ROWS + 1])
def test_the_number_of_rows_is_limited_both_ways(many: int) -> None:
    frame = packed({"v": 1, "kind": "rows", "rows": []})[:-1] + b"\xdd" + many.to_bytes(4, "big") + packed(GOOD) * many
    assert_seen_alike(frame)


@pytest.mark.parametrize("kind", [Kind.ROWS, Kind.BATCH])
def test_a_promise_of_more_than_there_is_is_refused_both_ways(kind: Kind) -> None:
    for promise in (
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\x00\x01\x86\xa0",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
    ):
        for field in ("rows", "dictionary", "ts", "errors"):
            assert_seen_alike(
                packed({"v": 1, "kind": kind})[:1].replace(b"\x82", b"\x83")
                + packed({"v": 1, "kind": kind, field: 0})[1:-1]
                + promise
            )
