"""supervisord's event listener protocol on two streams: READY, a header line, a payload, RESULT.

Owns reading and answering alone. The import of supervisor's own `childutils` would cost as much memory as the whole watchdog.
"""

from __future__ import annotations

from typing import BinaryIO, Final, NamedTuple

_READY: Final = b"READY\n"
_OK: Final = b"RESULT 2\nOK"
#: A payload is a line or two; more than this is not supervisord speaking.
_MAX_PAYLOAD_BYTES: Final = 1 << 20


class ListenerEvent(NamedTuple):
    """One event: its name (TICK_5, PROCESS_STATE_FATAL, …) and the pairs of its payload."""

    name: str
    fields: dict[str, str]


def next_event(stdin: BinaryIO, stdout: BinaryIO) -> ListenerEvent | None:
    """Say that we are ready and wait for an event; None once supervisord has closed the stream."""
    stdout.write(_READY)
    stdout.flush()
    header = stdin.readline()
    if not header:
        return None
    pairs = _pairs(header.decode(errors="replace"))
    try:
        length = int(pairs["len"])
    except (KeyError, ValueError):
        return None
    if not 0 <= length <= _MAX_PAYLOAD_BYTES:
        return None
    payload = stdin.read(length)
    if len(payload) < length:
        return None
    return ListenerEvent(pairs.get("eventname", ""), _pairs(payload.decode(errors="replace").split("\n", 1)[0]))


def acknowledge(stdout: BinaryIO) -> None:
    """The event is dealt with; supervisord may send the next."""
    stdout.write(_OK)
    stdout.flush()


def _pairs(line: str) -> dict[str, str]:
    return {key: value for word in line.split() if ":" in word for key, value in [word.split(":", 1)]}
