"""Builders of every message, so that both ends and the documentation agree on the field names."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perfmon.wire.envelope import PROTOCOL_MAJOR, pack
from perfmon.wire.kinds import Kind


def encode_rows(rows: Sequence[Mapping[str, Any]], *, producer: str | None = None, seq: int | None = None) -> bytes:
    """A `rows` message: maps with mcpServer, toolName, duration (ms), success and optionally error, resource
    {cpu %, memory MB, diskIO KB}, timestamp (ISO-8601 or epoch ms) and callId.
    """
    return write_message(Kind.ROWS, {"rows": list(rows)}, producer=producer, seq=seq)


def encode_batch(
    dictionary: Sequence[tuple[str, str]],
    *,
    series: Sequence[int],
    ts: Sequence[int],
    duration: Sequence[float],
    ok: Sequence[bool],
    cpu: Sequence[float] | None = None,
    memory: Sequence[float] | None = None,
    disk_io: Sequence[float] | None = None,
    errors: Mapping[int, str] | None = None,
    call_ids: Mapping[int, str] | None = None,
    producer: str | None = None,
    seq: int | None = None,
) -> bytes:
    """A `batch` message from plain sequences, without numpy.

    `dictionary` lists the (mcpServer, toolName) pairs that `series` indexes; `ts` is epoch ms UTC, `duration` ms; NaN
    in a measured column means not measured. All columns have the same length.
    """
    columns = batch_columns(
        dictionary,
        series=series,
        ts=ts,
        duration=duration,
        ok=ok,
        cpu=cpu,
        memory=memory,
        disk_io=disk_io,
        errors=errors,
        call_ids=call_ids,
    )
    return write_message(Kind.BATCH, columns, producer=producer, seq=seq)


def batch_columns(
    dictionary: Sequence[tuple[str, str]],
    *,
    series: Sequence[int],
    ts: Sequence[int],
    duration: Sequence[float],
    ok: Sequence[bool],
    cpu: Sequence[float] | None = None,
    memory: Sequence[float] | None = None,
    disk_io: Sequence[float] | None = None,
    errors: Mapping[int, str] | None = None,
    call_ids: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """The fields of a `batch` message besides its envelope; see `encode_batch`.

    Raises: TypeError, ValueError, OverflowError for values that no column of their type holds.
    """
    body: dict[str, Any] = {
        "n": len(series),
        "dictionary": [list(pair) for pair in dictionary],
        "series": column_bytes("H" if len(dictionary) <= 65_536 else "I", series),
        "ts": column_bytes("q", ts),
        "duration": column_bytes("d", duration),
        "ok": bytes(map(bool, ok)),
    }
    for name, values in (("cpu", cpu), ("memory", memory), ("diskIO", disk_io)):
        if values is not None:
            body[name] = column_bytes("d", values)
    if errors:
        body["errors"] = dict(errors)
    if call_ids:
        body["callIds"] = dict(call_ids)
    return body


def column_bytes(typecode: str, values: Iterable[Any]) -> bytes:
    """A little-endian column of one of the typecodes of the `array` module.

    Raises: TypeError, OverflowError for values that it does not hold.
    """
    column = array(typecode, values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def write_message(kind: Kind, fields: Mapping[str, Any], *, producer: str | None, seq: int | None) -> bytes:
    """A `rows` or `batch` message of ready fields.

    Raises: UnicodeEncodeError, TypeError, ValueError, OverflowError for what msgpack can't hold.
    """
    return pack(_write_envelope(kind, producer, seq) | dict(fields))


def request(request_id: str, method: str, params: Mapping[str, Any] | None = None) -> bytes:
    """A query or a mutation; a mutation repeated with the same id is done once."""
    return pack(
        {"v": PROTOCOL_MAJOR, "kind": Kind.REQUEST, "id": request_id, "method": method, "params": dict(params or {})}
    )


def ok_reply(request_id: str, result: Any) -> bytes:
    """The answer to a request."""
    return pack({"v": PROTOCOL_MAJOR, "kind": Kind.REPLY, "id": request_id, "ok": True, "result": result})


def error_reply(request_id: str, code: str, message: str, **fields: Any) -> bytes:
    """A refusal: `code` is a short name a program can test, `message` says what to do."""
    error = {"code": code, "message": message, **fields}
    return pack({"v": PROTOCOL_MAJOR, "kind": Kind.REPLY, "id": request_id, "ok": False, "error": error})


def ack_reply(
    *,
    producer: str | None,
    seq: int | None,
    cumulative: int | None,
    stored: int,
    duplicates: int,
    rejected: Sequence[tuple[int, str]],
    rejected_total: int,
    epoch: str,
    entry: int,
    first_row: int,
    error: tuple[str, str] | None = None,
    credit: int | None = None,
) -> bytes:
    """What ingest answers to `rows` and `batch` on the acknowledged socket, after the commit.

    `stored` rows are fsynced in journal entry `entry` from row `first_row` on; `duplicates` were known by their callId or
    by the producer's sequence; `rejected` lists the first refused rows as (index, reason), `rejected_total` counts them all.
    `cumulative` is the highest sequence up to which all of this producer's messages are stored. `error` is (code, message)
    when nothing of the message was stored and the producer should try again or give up. `credit` is how many bytes of frames
    this connection may have unacknowledged from now on.
    """
    body: dict[str, Any] = {
        "v": PROTOCOL_MAJOR,
        "kind": Kind.ACK,
        "producer": producer,
        "seq": seq,
        "cumulative": cumulative,
        "stored": stored,
        "duplicates": duplicates,
        "rejected": [[index, reason] for index, reason in rejected],
        "rejectedTotal": rejected_total,
        "epoch": epoch,
        "entry": entry,
        "firstRow": first_row,
    }
    if error is not None:
        body["error"] = {"code": error[0], "message": error[1]}
    if credit is not None:
        body["credit"] = credit
    return pack(body)


def credit_message(credit: int) -> bytes:
    """What ingest sends unasked to a connection that it had told to stop, once there is room: bytes, as in an `ack`."""
    return pack({"v": PROTOCOL_MAJOR, "kind": Kind.CREDIT, "credit": credit})


def _write_envelope(kind: Kind, producer: str | None, seq: int | None) -> dict[str, Any]:
    body: dict[str, Any] = {"v": PROTOCOL_MAJOR, "kind": kind}
    if producer is not None:
        body["producer"] = producer
    if seq is not None:
        body["seq"] = seq
    return body
