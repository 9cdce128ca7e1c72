"""Hostile messages without end: golden frames, broken in every way that a byte or a field can be, from a seed.

Two layers. Of bytes: bits flipped, cut, doubled, spliced, lengths and types of msgpack changed, huge lengths declared, nested
deeply. Of fields: the message is taken apart, a part is replaced by a nasty value, left out, doubled, renamed, and put together
again by a packer that knows no rules: text that is no UTF-8, keys that come twice, columns of odd widths. Nothing here knows what
ingest makes of it.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from perfmon.wire import encode_batch, encode_rows, request, unpack

#: Longest that mutations make of a message, so that a million of them can be sent.
MAX_BYTES: Final = 8_192
#: msgpack's headers with a length after them, by the bytes of the length.
_SIZED: Final = {
    0xC4: 1,
    0xC5: 2,
    0xC6: 4,
    0xC7: 1,
    0xC8: 2,
    0xC9: 4,
    0xD9: 1,
    0xDA: 2,
    0xDB: 4,
    0xDC: 2,
    0xDD: 4,
    0xDE: 2,
    0xDF: 4,
}


class Text(bytes):
    """Packed as text, whatever its bytes."""


class Pairs(list[tuple[Any, Any]]):
    """Packed as a map: keys may come twice, and may be anything."""


class Ext(bytes):
    """Packed as an extension: its first byte is the type."""


class Raw(bytes):
    """Packed as it is."""


def pack(value: Any) -> bytes:
    """The msgpack bytes of plain values and of the odd ones above."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, Ext):
        return (
            b"\xc7" + bytes([len(value[1:])]) + bytes(value) if len(value) <= 256 else b"\xc9\xff\xff\xff\xff" + value
        )
    if isinstance(value, Text):
        return _head(0xA0, 32, (0xD9, 0xDA, 0xDB), len(value)) + value
    if isinstance(value, str):
        return pack(Text(value.encode("utf-8", "surrogatepass")))
    if isinstance(value, bytes):
        return _head(0, 0, (0xC4, 0xC5, 0xC6), len(value)) + value
    if isinstance(value, Pairs):
        return _head(0x80, 16, (None, 0xDE, 0xDF), len(value)) + b"".join(pack(k) + pack(v) for k, v in value)
    if isinstance(value, dict):
        return pack(Pairs(value.items()))
    if isinstance(value, list | tuple):
        return _head(0x90, 16, (None, 0xDC, 0xDD), len(value)) + b"".join(map(pack, value))
    return _scalar(value)


def _scalar(value: Any) -> bytes:
    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if 0 <= value < 128:
        return bytes([value])
    return b"\xcf" + struct.pack(">Q", value) if value >= 0 else b"\xd3" + struct.pack(">q", value)


def _head(short: int, below: int, sized: tuple[int | None, int, int], length: int) -> bytes:
    if length < below:
        return bytes([short | length])
    if length < 256 and sized[0] is not None:
        return bytes([sized[0], length])
    if length < 65_536:
        return bytes([sized[1]]) + struct.pack(">H", length)
    return bytes([sized[2]]) + struct.pack(">I", length)


#: Values that somebody's code was not made for.
NASTY: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    127,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    -(2**63),
    0.0,
    -0.0,
    5e-324,
    -5e-324,
    1.7976931348623157e308,
    math.nan,
    math.inf,
    -math.inf,
    1e9,
    1e9 + 1,
    0.1,
    "",
    "\0",
    "a\nb",
    "..",
    "../../x",
    "__overflow__",
    "é" * 130,
    "x" * 300,
    "x" * 1_025,
    "\ud800",
    "\u202ex\u2066",
    "<script>",
    "%2e%2e",
    "1",
    "0000001",
    "٣",
    "2025-10-31T13:00:00.123Z",
    "2025-02-30",
    "9999-12-31T23:59:59.999Z",
    "-1",
    "now",
    Text(b"\xff\xfe"),
    Text(b"\xed\xa0\x80"),
    Text(b"\xc3"),
    b"",
    b"\0",
    b"\xff" * 7,
    b"\0" * 800,
    [],
    [[]],
    [["a", "b"]] * 3,
    {},
    {"a": {}},
    Pairs([("a", 1), ("a", 2)]),
    Pairs([(None, 1), (True, 2), (1, 3), ([], 4), ({}, 5)]),
    Pairs([("cpu", math.nan), ("cpu", 1.0)]),
    Ext(b"\x05data"),
    Ext(b"\xff\0\0\0\0"),
    Ext(b"\x01" + b"x" * 300),
    Raw(b"\xc1"),
    Raw(b"\xdd\x7f\xff\xff\xff"),
    Raw(b"\xdf\xff\xff\xff\xff"),
    Raw(b"\xc6\xff\xff\xff\xff"),
    Raw(b"\xdb\xff\xff\xff\xff"),
    Raw(b"\x91" * 2_000),
    Raw(b"\x81\xa0" * 2_000),
    Raw(b"\x90" * 3_000),
)


def golden(now_ms: int, producer: str) -> list[Any]:
    """Good messages of every kind, as values; nothing of them comes from elsewhere."""
    row = {
        "mcpServer": f"{producer}-server",
        "toolName": "deploy",
        "duration": 150.25,
        "success": False,
        "error": "connection refused: password=hunter2",
        "resource": {"cpu": 15.5, "memory": 128, "diskIO": None},
        "timestamp": now_ms,
        "callId": f"{producer}-call",
    }
    bare = {"mcpServer": f"{producer}-server", "toolName": "read", "duration": 1, "success": True}
    full = encode_batch(
        [(f"{producer}-server", "deploy"), ("files", "read")],
        series=[0, 1, 0],
        ts=[now_ms, now_ms + 1, now_ms - 60_000],
        duration=[150.0, 0.1, 3.0],
        ok=[False, True, True],
        cpu=[15.5, math.nan, 1.0],
        memory=[128.0, math.nan, 2.0],
        disk_io=[1.0, 2.0, 3.0],
        errors={0: "refused"},
        call_ids={0: f"{producer}-batch", 2: f"{producer}-other"},
        producer=producer,
        seq=2,
    )
    messages = [
        encode_rows([row, bare, bare], producer=producer, seq=1),
        encode_rows([bare | {"timestamp": "2026-11-23T07:00:00Z"}, row]),
        full,
        encode_batch([("s", "t")], series=[0], ts=[now_ms], duration=[1.0], ok=[True]),
        request("id-1", "rollup", {"startMs": now_ms, "by": "tool"}),
        request("id-2", "progress", {"service": "alerter", "epoch": "x", "seq": 1}),
        request("id-3", "ping"),
    ]
    return [unpack(message) for message in messages]


class Hostile:
    """An endless supply of hostile messages, the same for the same seed."""

    def __init__(self, seed: int, messages: Sequence[Any]) -> None:
        self._random = random.Random(seed)
        self._values = list(messages)
        self._frames = [pack(value) for value in messages]
        self._ways: list[Callable[[], bytes]] = [
            self._flipped,
            self._cut,
            self._doubled,
            self._spliced,
            self._length_changed,
            self._type_changed,
            self._declared_huge,
            self._nested,
            self._noise,
            *[self._field_changed] * 20,
            *[self._column_changed] * 8,
        ]

    def frame(self) -> bytes:
        """The next one."""
        return self._random.choice(self._ways)()[:MAX_BYTES]

    def frames(self) -> list[bytes]:
        """One message; now and then of several frames."""
        if self._random.random() < 0.98:
            return [self.frame()]
        return [self._random.choice((b"", b"x", self.frame())) for _ in range(self._random.randint(1, 8))]

    # --- bytes ----------------------------------------------------------------------------------------------------

    def _any(self) -> bytearray:
        return bytearray(self._random.choice(self._frames))

    def _flipped(self) -> bytes:
        frame = self._any()
        for _ in range(self._random.randint(1, 8)):
            frame[self._random.randrange(len(frame))] ^= 1 << self._random.randrange(8)
        return bytes(frame)

    def _cut(self) -> bytes:
        frame = self._any()
        return bytes(frame[: self._random.randrange(len(frame))])

    def _doubled(self) -> bytes:
        frame = self._any()
        start, end = sorted(self._random.randrange(len(frame) + 1) for _ in range(2))
        return bytes(frame[:end] + frame[start:])

    def _spliced(self) -> bytes:
        one, other = self._any(), self._any()
        return bytes(one[: self._random.randrange(len(one))] + other[self._random.randrange(len(other)) :])

    def _length_changed(self) -> bytes:
        frame = self._any()
        places = [at for at, byte in enumerate(frame) if byte in _SIZED or 0x80 <= byte < 0xC0]
        at = self._random.choice(places)
        width = _SIZED.get(frame[at])
        if width is None:
            frame[at] = frame[at] & 0xE0 | self._random.randrange(32)
        else:
            frame[at + 1 : at + 1 + width] = self._random.randbytes(width)
        return bytes(frame)

    def _type_changed(self) -> bytes:
        frame = self._any()
        frame[self._random.randrange(len(frame))] = self._random.choice(
            (0xC0, 0xC1, 0xC7, 0xD4, 0xD8, *_SIZED, 0x80, 0x90)
        )
        return bytes(frame)

    def _declared_huge(self) -> bytes:
        frame = self._any()
        head = self._random.choice((0xC6, 0xC9, 0xDB, 0xDD, 0xDF))
        return (
            bytes(frame[: self._random.randrange(1, len(frame))]) + bytes([head]) + b"\x7f\xff\xff\xff" + bytes(frame)
        )

    def _nested(self) -> bytes:
        opening = self._random.choice((b"\x91", b"\x81\xa1k", b"\x81\x90", b"\x92\xc0"))
        inner = opening * self._random.randint(1, 2_500)
        return inner if self._random.random() < 0.5 else b"\x83\xa1v\x01\xa4kind\xa4rows\xa4rows" + inner

    def _noise(self) -> bytes:
        return self._random.randbytes(self._random.randrange(64))

    # --- fields ---------------------------------------------------------------------------------------------------

    def _field_changed(self) -> bytes:
        value = self._random.choice(self._values)
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            value = self._changed(value)
        return pack(value)

    def _changed(self, value: Any) -> Any:
        if isinstance(value, dict) and not isinstance(value, Pairs):
            return self._changed(Pairs(value.items()))
        if isinstance(value, Pairs) and value and self._random.random() < 0.9:
            return self._pairs_changed(value)
        if isinstance(value, list) and value and self._random.random() < 0.9:
            at = self._random.randrange(len(value))
            return [*value[:at], self._changed(value[at]), *value[at + 1 :]]
        return self._random.choice(NASTY)

    def _pairs_changed(self, pairs: Pairs) -> Pairs:
        at = self._random.randrange(len(pairs))
        key, value = pairs[at]
        way = self._random.random()
        if way < 0.7:
            put = [(key, self._changed(value))]
        elif way < 0.8:
            put = []
        elif way < 0.9:
            put = [(key, value), (key, self._random.choice((value, self._changed(value))))]
        else:
            put = [(self._random.choice((*NASTY[:66], "paths", "kind", "v")), value)]
        return Pairs([*pairs[:at], *put, *pairs[at + 1 :]])

    def _column_changed(self) -> bytes:
        batches = [value for value in self._values if isinstance(value, dict) and "n" in value]
        if not batches:
            return self._field_changed()
        batch = dict(self._random.choice(batches))
        for _ in range(self._random.choice((1, 1, 2))):
            name = self._random.choice(
                ("n", "series", "ts", "duration", "ok", "cpu", "memory", "diskIO", "errors", "callIds")
            )
            batch[name] = self._column(name, int(batch["n"]) if type(batch["n"]) is int else 1)
        return pack(batch)

    def _column(self, name: str, n: int) -> Any:
        choose = self._random.choice
        if name == "n":
            return choose((0, 1, 2, 3, 4, 100_000, 100_001, 2**32, 2**63, -1, 1.0, True, None))
        if name in ("errors", "callIds"):
            row = choose((0, n - 1, n, -1, 2**40, "0", "00", "-0", "7" * 7, "1e1", " 1", 0.0, True, None, b"0"))
            return Pairs([(row, choose(("text", "", "x" * 300, 5, None, Text(b"\xff"), "\ud800"))), (0, "same")])
        if name in ("series", "ok"):
            return self._random.randbytes(choose((0, 1, n, 2 * n, 4 * n, 8 * n, 2 * n + 1)) % 4_096)
        if name == "ts":
            return b"".join(
                struct.pack("<q", choose((0, -1, 2**62, -(2**62), 1_761_915_600_123))) for _ in range(n % 64)
            )
        numbers = (
            math.nan,
            math.inf,
            -math.inf,
            -0.0,
            5e-324,
            1e308,
            1e15,
            1.0,
            struct.unpack("<d", b"\x01" * 6 + b"\xf0\x7f")[0],
        )
        return b"".join(struct.pack("<d", choose(numbers)) for _ in range(choose((n, n, n, n + 1, 0)) % 64))


def grammar() -> st.SearchStrategy[bytes]:
    """Messages as hypothesis builds them: the right fields with values of any type, and anything else."""
    text = st.text(max_size=40) | st.binary(max_size=10).map(Text)
    number = st.floats(width=64) | st.integers(-(2**63), 2**64 - 1)
    scalar = st.none() | st.booleans() | number | text | st.binary(max_size=40) | st.sampled_from(NASTY[:64])
    anything = st.recursive(scalar, lambda inner: st.lists(inner, max_size=4) | _map(scalar, inner), max_leaves=12)
    name = st.sampled_from(("files", "read", "")) | text | anything
    resource = _fields({"cpu": number, "memory": number, "diskIO": number | st.none()}, anything) | anything
    row = _fields(
        {
            "mcpServer": name,
            "toolName": name,
            "duration": number | anything,
            "success": st.booleans() | anything,
            "error": st.none() | text,
            "resource": resource,
            "timestamp": st.none() | text | st.integers(0, 2**42),
            "callId": text | st.none(),
        },
        anything,
    )
    column = st.integers(0, 3).flatmap(lambda n: st.binary(min_size=8 * n, max_size=8 * n)) | anything
    message = _fields(
        {
            "v": st.sampled_from((1, 1, 1, 1, 2, 0, True)) | anything,
            "kind": st.sampled_from(("rows", "batch", "request", "reply", "ack", "credit")) | anything,
            "rows": st.lists(row, max_size=4) | anything,
            "producer": text | anything,
            "seq": st.integers(-2, 2**64 - 1) | anything,
            "n": st.integers(-1, 4) | anything,
            "dictionary": st.lists(st.tuples(name, name), max_size=3) | anything,
            "series": column,
            "ts": column,
            "duration": column,
            "ok": st.binary(max_size=3) | anything,
            "cpu": column,
            "errors": _map(st.integers(-1, 5) | scalar, text) | anything,
            "id": text | anything,
            "method": st.sampled_from(("ping", "stats", "hello", "progress")) | anything,
            "params": _map(text, anything) | anything,
        },
        anything,
    )
    return (message | anything).map(pack)


def _fields(fields: dict[str, Any], anything: Any) -> Any:
    """Some of the fields in any order, and maybe one more."""
    named = st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=len(fields)).flatmap(
        lambda names: st.tuples(*(st.tuples(st.just(name), fields[name]) for name in names))
    )
    extra = st.lists(st.tuples(st.text(max_size=5), anything), max_size=1)
    return st.tuples(named, extra).map(lambda found: Pairs([*found[0], *found[1]]))


def _map(keys: Any, values: Any) -> Any:
    return st.lists(st.tuples(keys, values), max_size=4).map(Pairs)
