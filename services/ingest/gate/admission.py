"""What gets through the gate: writes and `ping`, from clients that are listed. Pure.

Ingest decides about everything inside a message; here a message that ingest would not even unpack is answered at once, so that
junk costs the gate and not ingest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from perfmon.wire import Kind, WireError, error_reply, unpack_envelope

#: Frames before the message: identity, and a REQ's request id and delimiter.
MAX_ENVELOPE_FRAMES: Final = 3
#: The requests that are let through.
METHODS: Final = ("ping",)
_WRITES: Final = (Kind.ROWS, Kind.BATCH)


class Turned(NamedTuple):
    """Not let through: why, and what the client is told."""

    reason: str
    answer: bytes


def turned_away(key: str, frames: int, frame: bytes, listed: Mapping[str, str]) -> Turned | None:
    """Why a message is turned away; None when it may pass. `key` is the client's public key, `frames` all of the message's."""
    if key not in listed:
        return _turned("", "key_not_listed", "this key was revoked; ask for a new one")
    if frames > MAX_ENVELOPE_FRAMES + 1:
        return _turned("", "too_many_frames", "a message is one frame")
    try:
        _, kind, body = unpack_envelope(frame)
    except WireError as error:
        return _turned("", error.reason, str(error))
    if kind in _WRITES:
        return None
    request_id = body.get("id")
    known = request_id if isinstance(request_id, str) else ""
    if kind == Kind.REQUEST:
        if body.get("method") in METHODS:
            return None
        return _turned(known, "not_allowed_here", "over TCP there are writes and `ping` alone")
    return _turned(known, "unknown_kind", f"unknown kind {kind[:40]!r}")


def _turned(request_id: str, reason: str, text: str) -> Turned:
    return Turned(reason, error_reply(request_id, reason, text))
