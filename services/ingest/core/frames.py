"""Frames of `rows` and `batch` decoded straight into typed structures: the fast way in.

A frame that fits the types exactly is `Written`; any other, whatever is wrong with it, is unpacked into plain maps, from
which the door tells what is refused and why. So what is refused here is what `unpack_envelope` refuses. msgspec decodes
into structures that the garbage collector does not track, at a fourth of the cost of maps; the types bound the depth and the
size of what is built.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta, Raw, Struct, field
from msgspec.msgpack import Decoder

from perfmon.wire import MAX_FRAME_BYTES, MAX_ROWS, PROTOCOL_MAJOR, Kind, unpack, unpack_envelope
from services.ingest.core.known import Dictionary, dictionary_of
from shared.batch import row_map_of

_Version = Annotated[int, Meta(ge=1, le=PROTOCOL_MAJOR)]


class Resource(Struct, forbid_unknown_fields=True, gc=False):
    """What was measured of a call: %, MB, KB."""

    cpu: float | None = None
    memory: float | None = None
    disk_io: float | None = field(name="diskIO", default=None)


class Row(Struct, forbid_unknown_fields=True, gc=False, rename="camel"):
    """One metric as a map; `success`, `duration` (ms) and the names are required."""

    mcp_server: str
    tool_name: str
    duration: float
    success: bool
    error: str | None = None
    resource: Resource | None = None
    timestamp: int | str | None = None
    call_id: str | None = None


class Rows(Struct, forbid_unknown_fields=True, gc=False, tag_field="kind", tag="rows"):
    """A `rows` message."""

    v: _Version
    rows: Annotated[list[Row], Meta(max_length=MAX_ROWS)]
    producer: str | None = None
    seq: int | None = None


class Columns(Struct, forbid_unknown_fields=True, gc=False, tag_field="kind", tag="batch"):
    """A `batch` message; the raw fields are unpacked only when they are not known or not empty."""

    v: _Version
    n: int
    dictionary: Raw
    series: bytes
    ts: bytes
    duration: bytes
    ok: bytes
    cpu: bytes | None = None
    memory: bytes | None = None
    disk_io: bytes | None = field(name="diskIO", default=None)
    errors: Raw = Raw()
    call_ids: Raw = field(name="callIds", default=Raw())
    producer: str | None = None
    seq: int | None = None


class Sparse(NamedTuple):
    """What a `batch` message has beside its columns."""

    dictionary: Dictionary
    errors: dict[int, str]
    call_ids: dict[int, str]


class Written(NamedTuple):
    """A well-formed `rows` or `batch` message, with its frame for whoever must look closer. `sparse`: of a `batch`."""

    frame: bytes
    message: Rows | Columns
    sparse: Sparse | None = None

    def get(self, name: str) -> Any:
        """A field of the envelope; None when it has none."""
        return getattr(self.message, name, None)

    def unpacked(self) -> dict[Any, Any]:
        """The same message as plain maps."""
        return unpack_envelope(self.frame).body


#: The body of a message: as plain maps, or typed.
Body = dict[Any, Any] | Written

#: A field that is left out, and nil.
_NOTHING: Final = (b"", b"\xc0")

#: Fields that every `batch` message has: v, kind, n, dictionary, series, ts, duration, ok.
_REQUIRED: Final = 8

_DECODER: Final = Decoder(Rows | Columns)


def read(frame: bytes) -> tuple[str, Body]:
    """The kind and the body of a frame; the body is `Written` when all of it has the right type.

    Raises: MalformedFrame, UnsupportedVersion.
    """
    if len(frame) <= MAX_FRAME_BYTES:
        try:
            message = _DECODER.decode(frame)
            sparse = _sparse(message, frame) if isinstance(message, Columns) else None
            return (Kind.ROWS if sparse is None else Kind.BATCH), Written(frame, message, sparse)
        except (ValueError, RecursionError):
            pass  # all errors of msgspec, Unicode, the wire and batches are ValueErrors; what is wrong, the strict way tells
    envelope = unpack_envelope(frame)
    return envelope.kind, envelope.body


def _sparse(message: Columns, frame: bytes) -> Sparse:
    """Raises: ValueError when something in it is not what it has to be."""
    if not _come_once(message, frame):
        unpack(frame)  # the first of two raw fields may be anything, which only this looks at
    n = message.n
    return Sparse(
        dictionary_of(message.dictionary),
        _row_map(message.errors, "errors", n),
        _row_map(message.call_ids, "callIds", n),
    )


def _come_once(message: Columns, frame: bytes) -> bool:
    """True: no field comes twice. False: one may, or is nil."""
    optional = (message.cpu, message.memory, message.disk_io, message.producer, message.seq)
    raw = (bytes(message.errors), bytes(message.call_ids))
    fields = _REQUIRED + len(optional) - optional.count(None) + len(raw) - raw.count(b"")
    # The head of a map of up to 15 fields.
    return frame[0] == 0x80 | fields


def _row_map(packed: Raw, name: str, n: int) -> dict[int, str]:
    raw = bytes(packed)
    return {} if raw in _NOTHING else row_map_of(unpack(raw), name, n)
