"""Lines of JSON-RPC from a byte stream, and what is answered to one that is no message.

Pure. A line longer than the limit is skipped to its end without being kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

#: One message; the HTTP side has the same limit.
MAX_LINE_BYTES: Final = 4 * 1024 * 1024

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600


@dataclass(frozen=True, slots=True)
class Oversize:
    """A line beyond the limit; nothing of it was kept."""

    limit_bytes: int


class LineSplitter:
    """Cuts a byte stream at newlines, with a bound on what is held."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[bytes | Oversize]:
        """The complete lines, without their newlines."""
        if not self._held and not self._skipping and data.endswith(b"\n") and data.count(b"\n") == 1:
            yield data[:-1] if len(data) <= self._limit_bytes else Oversize(self._limit_bytes)
            return
        *complete, rest = data.split(b"\n")
        for piece in complete:
            yield from self._line(piece)
        if not self._skipping:
            self._held += rest
            if len(self._held) > self._limit_bytes:
                self._held.clear()
                self._skipping = True

    def rest(self) -> Iterator[bytes | Oversize]:
        """The last line, when the stream ended without a newline."""
        if self._held or self._skipping:
            yield from self._line(b"")

    def _line(self, piece: bytes) -> Iterator[bytes | Oversize]:
        line = bytes(self._held) + piece
        too_long = self._skipping or len(line) > self._limit_bytes
        self._held.clear()
        self._skipping = False
        yield Oversize(self._limit_bytes) if too_long else line


def unreadable_reply(line: bytes | Oversize) -> bytes:
    """The JSON-RPC error for a line that is no message, with its id where one can be read."""
    if isinstance(line, Oversize):
        return _error(None, PARSE_ERROR, f"Parse error: a message has at most {line.limit_bytes} bytes")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return _error(None, PARSE_ERROR, "Parse error: a line is one JSON-RPC message")
    if isinstance(found, list):
        return _error(None, INVALID_REQUEST, "Invalid request: batches are not part of MCP; send one message a line")
    if not isinstance(found, dict):
        return _error(None, INVALID_REQUEST, "Invalid request: a message is a JSON object")
    return _error(_id(found), INVALID_REQUEST, _why(found))


def _why(message: dict[Any, Any]) -> str:
    if message.get("jsonrpc") != "2.0":
        return 'Invalid request: `jsonrpc` is "2.0"'
    if not isinstance(message.get("params", {}), dict):
        return "Invalid request: `params` is an object"
    return "Invalid request: a request has an `id`, a string `method` and `params` of valid Unicode"


def _id(message: dict[Any, Any]) -> str | int | None:
    found = message.get("id")
    if isinstance(found, str):
        return found if found.isprintable() and len(found) <= 200 else None
    return found if type(found) is int else None


def _error(request_id: str | int | None, code: int, message: str) -> bytes:
    body = {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"
