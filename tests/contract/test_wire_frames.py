"""The wire format, byte for byte: golden frames that any implementation must write and read, and the text that explains them.

A change here is a change of the protocol: raise its version, change docs/protocol.md and the frames in the same commit
(`UPDATE_FRAMES=1 pytest tests/contract/test_wire_frames.py`).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from perfmon.wire import (
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    Kind,
    ack_reply,
    credit_message,
    encode_batch,
    encode_rows,
    error_reply,
    limits,
    ok_reply,
    pack,
    request,
    unpack,
    unpack_envelope,
)
from services.ingest.core.door import let_in
from services.ingest.core.lines import Formatter
from services.ingest.core.placement import Placement
from services.ingest.core.reasons import REASONS
from shared.batch import decode

FRAMES: Final = Path(__file__).parents[1] / "fixtures" / "frames"
PROTOCOL: Final = Path(__file__).parents[2] / "docs" / "protocol.md"
TS: Final = 1_761_915_600_123

ROW: Final[dict[str, Any]] = {
    "mcpServer": "deployment-release-mcp",
    "toolName": "deploy_application",
    "duration": 150,
    "success": False,
    "error": "connection refused",
    "resource": {"cpu": 15.5, "memory": 128, "diskIO": None},
    "timestamp": "2025-10-31T13:00:00.123Z",
    "callId": "toolu_01A",
}


def _batch() -> bytes:
    return encode_batch(
        [("deployment-release-mcp", "deploy_application"), ("files", "read")],
        series=[0, 1],
        ts=[TS, TS + 1],
        duration=[150.0, 0.1],
        ok=[False, True],
        cpu=[15.5, math.nan],
        memory=[128.0, math.nan],
        errors={0: "connection refused"},
        call_ids={0: "toolu_01A"},
        producer="golden",
        seq=2,
    )


def _ack(error: tuple[str, str] | None) -> bytes:
    return ack_reply(
        producer="golden",
        seq=2,
        cumulative=2,
        stored=0 if error else 1,
        duplicates=0,
        rejected=[] if error else [(1, "name_empty")],
        rejected_total=0 if error else 1,
        epoch="0123456789abcdef",
        entry=0 if error else 7,
        first_row=0,
        error=error,
        credit=1_048_576,
    )


def _entry_body() -> bytes:
    batch = let_in(Kind.BATCH, unpack_envelope(_batch()).body, TS, 0).batch
    return Placement(100).place(batch).encode()


BUILDERS: Final[dict[str, Callable[[], bytes]]] = {
    "rows": lambda: encode_rows([ROW], producer="golden", seq=1),
    "batch": _batch,
    "ack": lambda: _ack(None),
    "ack-refused": lambda: _ack(("disk_full", "the disk is full")),
    "credit": lambda: credit_message(65_536),
    "request": lambda: request("id-1", "rollup", {"startMs": TS, "endMs": TS + 1, "by": "tool"}),
    "reply": lambda: ok_reply("id-1", {"rows": [], "rowsTotal": 0}),
    "reply-refused": lambda: error_reply("id-1", "unknown_server", "no such server", nearest=["files"]),
    "entry-header": lambda: pack(
        {"v": 1, "kind": Kind.ENTRY, "epoch": "0123456789abcdef", "seq": 7, "committedMs": TS}
    ),
    "entry-body": _entry_body,
    "head": lambda: pack({"v": 1, "kind": Kind.HEAD, "epoch": "0123456789abcdef", "seq": 7, "viewSeq": 6}),
    "disk-full": lambda: pack({"v": 1, "kind": Kind.DISK_FULL, "epoch": "0123456789abcdef"}),
}


def golden(name: str) -> bytes:
    return (FRAMES / f"{name}.msgpack").read_bytes()


@pytest.mark.parametrize("name", BUILDERS)
def test_a_message_is_written_as_its_golden_frame(name: str) -> None:
    if os.environ.get("UPDATE_FRAMES"):
        (FRAMES / f"{name}.msgpack").write_bytes(BUILDERS[name]())
    assert BUILDERS[name]() == golden(name)


def test_every_golden_frame_is_tested() -> None:
    assert {path.stem for path in FRAMES.glob("*.msgpack")} == set(BUILDERS)


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "entry-body"])
def test_a_golden_frame_has_the_envelope(name: str) -> None:
    assert unpack_envelope(golden(name)).version == 1


def test_the_golden_rows_and_batch_are_let_in_as_what_they_say() -> None:
    rows = let_in(Kind.ROWS, unpack_envelope(golden("rows")).body, TS, 0).batch
    batch = let_in(Kind.BATCH, unpack_envelope(golden("batch")).body, TS, 0).batch
    for found in (rows, batch):
        assert found.dictionary[0] == ("deployment-release-mcp", "deploy_application")
        assert (found.ts[0], found.duration[0], found.ok[0]) == (TS, 150.0, 0)
        assert found.errors == {0: "connection refused"}
        assert found.call_ids == {0: "toolu_01A"}
    assert batch.duration.tolist() == [150.0, 0.1]


def test_the_golden_entry_is_read_and_becomes_the_documented_lines() -> None:
    batch = decode(golden("entry-body"))
    assert batch.paths == ("deployment-release-mcp/deploy_application", "files/read")
    [first, second] = [lines.data.decode() for lines in Formatter().lines_of(batch)]
    assert first == (
        '{"timestamp":"2025-10-31T13:00:00.123Z","mcpServer":"deployment-release-mcp","toolName":"deploy_application",'
        '"duration":150,"success":false,"error":"connection refused",'
        '"resource":{"cpu":15.5,"memory":128,"diskIO":null},"callId":"toolu_01A"}\n'
    )
    assert '"resource":null' in second


def test_messages_of_a_later_minor_are_read() -> None:
    body = unpack(golden("rows")) | {"added": {"in": "1.9"}}
    assert len(let_in(Kind.ROWS, unpack_envelope(pack(body)).body, TS, 0).batch) == 1


# --- the text -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text() -> str:
    return PROTOCOL.read_text()


def test_the_text_is_of_this_version(text: str) -> None:
    assert f"Version **{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}**" in text


@pytest.mark.parametrize("reason", [*REASONS, "not_msgpack", "not_a_map", "no_envelope", "unsupported_version"])
def test_every_reason_is_documented(reason: str, text: str) -> None:
    assert f"`{reason}`" in text


def test_every_documented_reason_exists(text: str) -> None:
    section = text.split("### Reasons", 1)[1].split("\n## ", 1)[0]
    of_frames = {"frame_too_large", "not_msgpack", "not_a_map", "no_envelope", "unsupported_version", "too_many_frames"}
    of_producers = {"not_packable"}  # the SDK's own, for what it can't send
    assert set(re.findall(r"`([a-z_0-9]+)`", section)) == set(REASONS) | of_frames | of_producers


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_documented(kind: Kind, text: str) -> None:
    assert f"`{kind}`" in text


@pytest.mark.parametrize("code", ["journal_full", "disk_full", "storage_failed"])
def test_what_may_be_sent_again_is_documented(code: str, text: str) -> None:
    assert f"`{code}`" in text


def test_the_documented_limits_are_the_ones_that_hold(text: str) -> None:
    assert f"at most {limits.MAX_FRAME_BYTES // 2**20} MiB" in text
    assert f"at most {limits.MAX_ROWS:,} maps" in text
    assert f"1–{limits.MAX_PRODUCER_BYTES} bytes" in text
    assert f"1–{limits.MAX_NAME_BYTES:,} bytes" in text
    assert f"1–{limits.MAX_CALL_ID_BYTES} bytes" in text
    assert f"cut at {limits.MAX_ERROR_CHARS:,} characters" in text


@pytest.mark.parametrize(
    "name", ["ack", "ack-refused", "credit", "entry-header", "head", "disk-full", "reply", "request"]
)
def test_every_field_of_a_message_is_documented(name: str, text: str) -> None:
    for field in unpack(golden(name)):
        assert f"`{field}`" in text, field
