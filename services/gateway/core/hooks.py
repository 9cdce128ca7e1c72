"""Claude Code's hook payloads as metrics. Pure.

What a payload is, is measured (see the payload fixtures of the tests): `mcp_server` and `duration_ms` are optional, an MCP error
comes as PostToolUseFailure, characters that a tool name may not hold became `_`. The call id is `tool_use_id`, so that the same
call seen by a proxy or by telemetry is stored once.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Any, Final, NamedTuple

from perfmon.wire.limits import MAX_CALL_ID_BYTES, MAX_DURATION_MS, MAX_NAME_BYTES

PREFIX: Final = "mcp__"
#: Characters of an error that travel to the ingest, which redacts and cuts further.
MAX_ERROR_CHARS: Final = 20_000

_REPLACED: Final = re.compile(r"[^A-Za-z0-9_-]")
_OUTCOMES: Final = {"PostToolUse": True, "PostToolUseFailure": False}


class Ignored(StrEnum):
    """Why a payload became no metric; each is counted."""

    OTHER_EVENT = "other_event"
    NOT_AN_MCP_TOOL = "not_an_mcp_tool"
    NO_DURATION = "no_duration"
    MALFORMED = "malformed"


class HookMetric(NamedTuple):
    """A row for the ingest."""

    row: dict[str, Any]


def read_payload(payload: object, now_ms: int) -> HookMetric | Ignored:
    """The metric in a hook's payload, or why there is none."""
    if not isinstance(payload, dict):
        return Ignored.MALFORMED
    success = _OUTCOMES.get(str(payload.get("hook_event_name")))
    if success is None:
        return Ignored.OTHER_EVENT
    tool_name = payload.get("tool_name")
    if not isinstance(tool_name, str):
        return Ignored.MALFORMED
    series = server_and_tool(tool_name, payload.get("mcp_server"))
    if series is None:
        return Ignored.NOT_AN_MCP_TOOL
    duration = payload.get("duration_ms")
    if not _is_duration(duration):
        return Ignored.NO_DURATION if duration is None else Ignored.MALFORMED
    row: dict[str, Any] = {
        "mcpServer": series[0],
        "toolName": series[1],
        "duration": duration,
        "success": success,
        "timestamp": now_ms,
    }
    if not success:
        row["error"] = _error(payload)
    call_id = payload.get("tool_use_id")
    if isinstance(call_id, str) and 0 < len(_bytes(call_id)) <= MAX_CALL_ID_BYTES:
        row["callId"] = call_id
    return HookMetric(row)


def server_and_tool(tool_name: str, mcp_server: object) -> tuple[str, str] | None:
    """The names behind `mcp__<server>__<tool>`: the server's own name where the payload gives it, else what stands before the
    first double underscore. None for tools that are not MCP's.
    """
    if not tool_name.startswith(PREFIX):
        return None
    rest = tool_name[len(PREFIX) :]
    name = mcp_server.get("name") if isinstance(mcp_server, dict) else None
    if isinstance(name, str) and name:
        start = f"{_REPLACED.sub('_', name)}__"
        if rest.startswith(start) and len(rest) > len(start):
            return _fitting(name, rest[len(start) :])
    server, _, tool = rest.partition("__")
    return _fitting(server, tool) if server and tool else None


def _fitting(server: str, tool: str) -> tuple[str, str] | None:
    return (server, tool) if all(len(_bytes(name)) <= MAX_NAME_BYTES for name in (server, tool)) else None


def _error(payload: dict[str, Any]) -> str:
    error = payload.get("error")
    text = error[:MAX_ERROR_CHARS] if isinstance(error, str) and error else "failed without a message"
    return f"interrupted: {text}" if payload.get("is_interrupt") is True else text


def _is_duration(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and 0 <= value <= MAX_DURATION_MS


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
