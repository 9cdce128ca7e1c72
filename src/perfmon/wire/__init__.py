"""The wire format between producers, services and clients: one msgpack map a frame.

Owns the envelope (version, kind), the limits at the door and the names of every message kind. Deliberately knows
nothing of numpy, of sockets or of what a service does with a message. `docs/protocol.md` is the authoritative text;
`perfmon.rpc` is the query client that speaks it, `shared.batch` the columnar reader of it.
"""

from perfmon.wire.envelope import (
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    Envelope,
    MalformedFrame,
    UnsupportedVersion,
    WireError,
    pack,
    unpack,
    unpack_envelope,
)
from perfmon.wire.kinds import Kind
from perfmon.wire.limits import (
    CREDIT_LAPSE_S,
    CREDIT_PROBE_S,
    INITIAL_CREDIT_BYTES,
    MAX_CALL_ID_BYTES,
    MAX_ERROR_CHARS,
    MAX_FRAME_BYTES,
    MAX_IN_FLIGHT,
    MAX_NAME_BYTES,
    MAX_PRODUCER_BYTES,
    MAX_ROWS,
    OVERFLOW_NAME,
)
from perfmon.wire.messages import (
    ack_reply,
    batch_columns,
    column_bytes,
    credit_message,
    encode_batch,
    encode_rows,
    error_reply,
    ok_reply,
    request,
    write_message,
)

__all__ = [
    "CREDIT_LAPSE_S",
    "CREDIT_PROBE_S",
    "INITIAL_CREDIT_BYTES",
    "MAX_CALL_ID_BYTES",
    "MAX_ERROR_CHARS",
    "MAX_FRAME_BYTES",
    "MAX_IN_FLIGHT",
    "MAX_NAME_BYTES",
    "MAX_PRODUCER_BYTES",
    "MAX_ROWS",
    "OVERFLOW_NAME",
    "PROTOCOL_MAJOR",
    "PROTOCOL_MINOR",
    "Envelope",
    "Kind",
    "MalformedFrame",
    "UnsupportedVersion",
    "WireError",
    "ack_reply",
    "batch_columns",
    "column_bytes",
    "credit_message",
    "encode_batch",
    "encode_rows",
    "error_reply",
    "ok_reply",
    "pack",
    "request",
    "unpack",
    "unpack_envelope",
    "write_message",
]
