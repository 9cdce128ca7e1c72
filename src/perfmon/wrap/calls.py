"""Finds tool calls in the two streams of an MCP server. Pure: copies of bytes and their times in, starts and ends of calls out.

A call begins with the last byte of a `tools/call` request and ends with the last byte of its response. Responses are matched
by id, number and text kept apart, within batches too. What is not JSON, or not JSON-RPC, passes unseen: this is a witness, not a
validator. Knows nothing of resources, of the wall clock or of where metrics go.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, NamedTuple

from perfmon.wrap.glimpse import glimpse
from perfmon.wrap.lines import Line, LineCutter

#: Calls that may wait for their response; the oldest beyond it is no longer watched.
MAX_PENDING: Final = 10_000
#: Characters of an error's text that are kept here; the producer cuts again.
MAX_TEXT_CHARS: Final = 1_000
MAX_CALL_ID_CHARS: Final = 256
#: How a client's own id for a call is named in `params._meta`: Claude Code sends `claudecode/toolUseId`.
CALL_ID_SUFFIX: Final = "toolUseId"
#: Where servers of the stateless protocol say who they are, in a result's `_meta`.
SERVER_INFO_META: Final = "io.modelcontextprotocol/serverInfo"
_INTRODUCTIONS: Final = frozenset({"initialize", "server/discover"})


class Direction(Enum):
    """Which way bytes went."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"


class Call(NamedTuple):
    """A request for a tool that has begun. `serial` is unique; `ns` are of the monotonic clock."""

    serial: int
    tool: str
    started_ns: int
    call_id: str | None


class Started(NamedTuple):
    """A call began."""

    call: Call


class Finished(NamedTuple):
    """A call ended, as `error` says (None = success). `overlapped`: another was under way at some time of it."""

    call: Call
    ended_ns: int
    error: str | None
    overlapped: bool


Event = Started | Finished
_Key = tuple[str, int | str]


class CallWatcher:
    """The calls of one server process."""

    def __init__(self, fallback_name: str, *, name: str | None = None) -> None:
        self._given_name = name
        self._own_name: str | None = None
        self._fallback_name = fallback_name
        self._cutters = {direction: LineCutter() for direction in Direction}
        self._pending: dict[_Key, Call] = {}
        self._overlapped: set[int] = set()
        self._introductions: set[_Key] = set()
        self._events: list[Event] = []
        self._serial = 0
        #: Calls that began and whose end could not be seen, and requests that could not be read.
        self.unobserved_total = 0

    @property
    def server_name(self) -> str:
        """The name given, else what the server calls itself, else the command's."""
        return self._given_name or self._own_name or self._fallback_name

    @property
    def pending(self) -> int:
        """Calls under way."""
        return len(self._pending)

    def feed(self, direction: Direction, data: bytes, now_ns: int) -> list[Event]:
        """What began and ended with these bytes, which went by at `now_ns`."""
        handle = self._from_client if direction is Direction.TO_SERVER else self._from_server
        for line in self._cutters[direction].feed(data):
            if direction is Direction.TO_CLIENT and not self._pending and not self._introductions:
                continue  # nothing is waited for, so nothing in it can matter
            self._each(_parse(line), handle, now_ns)
        return self._taken()

    def gap(self, direction: Direction) -> None:
        """Copies are missing in this direction: calls under way may have ended in them."""
        self._cutters[direction].gap()
        self.unobserved_total += len(self._pending)
        self._pending.clear()
        self._overlapped.clear()
        self._introductions.clear()

    def finish(self, now_ns: int) -> list[Event]:
        """The server ended: what was not answered failed."""
        for key in list(self._pending):
            self._end(key, "no response before exit", now_ns)
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _each(self, message: Any, handle: Callable[[dict[str, Any], int], None], now_ns: int) -> None:
        for one in message if isinstance(message, list) else (message,):
            if isinstance(one, dict):
                handle(one, now_ns)

    def _from_client(self, message: dict[str, Any], now_ns: int) -> None:
        method, params = message.get("method"), message.get("params")
        key = _key(message.get("id"))
        if method == "tools/call" and key is not None:
            self._begin(key, params, now_ns)
        elif method in _INTRODUCTIONS and key is not None:
            self._introductions.add(key)
        elif method == "notifications/cancelled" and isinstance(params, dict):
            cancelled = _key(params.get("requestId"))
            if cancelled in self._pending:
                self._end(cancelled, _with_text("cancelled", params.get("reason")), now_ns)

    def _from_server(self, message: dict[str, Any], now_ns: int) -> None:
        key = _key(message.get("id"))
        if key is None or "method" in message:
            return
        result = message.get("result")
        if key in self._introductions:
            self._introductions.discard(key)
            self._own_name = _introduced(result) or self._own_name
        elif key in self._pending:
            if isinstance(result, dict) and result.get("resultType") == "input_required":
                self._forget(key)  # the client repeats the call with what was asked for
            else:
                self._end(key, _failure(message), now_ns)

    def _begin(self, key: _Key, params: object, now_ns: int) -> None:
        tool = params.get("name") if isinstance(params, dict) else None
        if not isinstance(params, dict) or not isinstance(tool, str) or not tool:
            self.unobserved_total += 1
            return
        if key in self._pending:
            self._end(key, "no response before its id was used again", now_ns)
        elif len(self._pending) >= MAX_PENDING:
            self._forget(next(iter(self._pending)))
            self.unobserved_total += 1
        self._serial += 1
        call = Call(self._serial, tool, now_ns, _call_id(params.get("_meta")))
        if self._pending:
            self._overlapped.add(call.serial)
            # Where there are two or more, they know already.
            self._overlapped.add(next(iter(self._pending.values())).serial)
        self._pending[key] = call
        self._events.append(Started(call))

    def _end(self, key: _Key, error: str | None, now_ns: int) -> None:
        call = self._pending.pop(key)
        overlapped = call.serial in self._overlapped
        self._overlapped.discard(call.serial)
        self._events.append(Finished(call, now_ns, error, overlapped))

    def _forget(self, key: _Key) -> None:
        self._overlapped.discard(self._pending.pop(key).serial)


def _parse(line: Line) -> Any:
    if line.whole is None:
        return glimpse(line.head, line.tail)
    try:
        return json.loads(line.whole) if line.whole else None
    except (ValueError, RecursionError):
        return None


def _key(request_id: object) -> _Key | None:
    if isinstance(request_id, bool):
        return None
    if isinstance(request_id, str):
        return "text", request_id
    if isinstance(request_id, float) and request_id.is_integer():
        return "number", int(request_id)
    return ("number", request_id) if isinstance(request_id, int) else None


def _call_id(meta: object) -> str | None:
    if not isinstance(meta, dict):
        return None
    for key, value in meta.items():
        if key.endswith(CALL_ID_SUFFIX) and isinstance(value, str) and 0 < len(value) <= MAX_CALL_ID_CHARS:
            return value
    return None


def _introduced(result: object) -> str | None:
    if not isinstance(result, dict):
        return None
    meta = result.get("_meta")
    for info in (result.get("serverInfo"), meta.get(SERVER_INFO_META) if isinstance(meta, dict) else None):
        if isinstance(info, dict) and isinstance(info.get("name"), str) and info["name"]:
            return str(info["name"])
    return None


def _failure(message: dict[str, Any]) -> str | None:
    """Why the response is a failure: `class: message`; None for a success."""
    error = message.get("error")
    if error is not None:
        code = error.get("code") if isinstance(error, dict) else None
        text = error.get("message") if isinstance(error, dict) else error
        return _with_text("jsonrpc_error" if code is None else f"jsonrpc_error {code!s:.20}", text)
    result = message.get("result")
    if isinstance(result, dict) and result.get("isError") is True:
        return _with_text("tool_error", _first_text(result.get("content")))
    return None


def _first_text(content: object) -> str | None:
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
            return str(block["text"])
    return None


def _with_text(error_class: str, text: object) -> str:
    return f"{error_class}: {text[:MAX_TEXT_CHARS]}" if isinstance(text, str) and text else error_class
