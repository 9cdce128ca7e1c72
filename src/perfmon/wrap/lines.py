"""Cut a stream of bytes into lines without ever holding a very long one. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

#: Longest line that is kept whole.
MAX_LINE_BYTES: Final = 4 * 1024 * 1024
#: Of a longer one, how much of its beginning and of its end is kept.
GLIMPSE_BYTES: Final = 64 * 1024


class Line(NamedTuple):
    """A line without its newline: `whole`, or None for one over the limit, of which there is `head` and `tail`."""

    whole: bytes | None
    head: bytes = b""
    tail: bytes = b""


class LineCutter:
    """One direction's stream; holds at most a line's limit."""

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES, glimpse_bytes: int = GLIMPSE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._glimpse_bytes = glimpse_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._head: bytes | None = None
        self._skipping = False

    def feed(self, data: bytes) -> list[Line]:
        """The lines that end in `data`."""
        first, *rest = data.split(b"\n")
        if not rest:
            self._append(first)
            return []
        lines = []
        self._append(first)
        if (ended := self._end()) is not None:
            lines.append(ended)
        for piece in rest[:-1]:
            self._append(piece)
            if (ended := self._end()) is not None:
                lines.append(ended)
        self._append(rest[-1])
        return lines

    def gap(self) -> None:
        """Bytes are missing: what was begun is void, and so is everything to the next newline."""
        self._reset()
        self._skipping = True

    def _append(self, piece: bytes) -> None:
        if self._skipping or not piece:
            return
        self._parts.append(piece)
        self._size += len(piece)
        limit = self._max_line_bytes if self._head is None else 2 * self._glimpse_bytes
        if self._size > limit:
            self._shrink()

    def _shrink(self) -> None:
        joined = b"".join(self._parts)
        if self._head is None:
            self._head = joined[: self._glimpse_bytes]
        tail = joined[-self._glimpse_bytes :]
        self._parts, self._size = [tail], len(tail)

    def _end(self) -> Line | None:
        if self._skipping:
            self._skipping = False
            return None
        if self._head is None:
            line = Line(b"".join(self._parts))
        else:
            line = Line(None, self._head, b"".join(self._parts)[-self._glimpse_bytes :])
        self._reset()
        return line

    def _reset(self) -> None:
        self._parts, self._size, self._head = [], 0, None
