"""Pack and unpack one frame: a msgpack map that names its version and kind.

This is the only module that touches msgpack, which is untyped. Strings that are not valid UTF-8 survive the unpacking as
lone surrogates, so that one bad name costs its row and not its message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgpack

from perfmon.wire.limits import MAX_CONTAINERS, MAX_FRAME_BYTES, MAX_ROWS

#: Adding a field raises the minor, changing a meaning the major. Newer majors are refused politely.
PROTOCOL_MAJOR: Final = 1
PROTOCOL_MINOR: Final = 1


class WireError(ValueError):
    """A frame that is not a message of this protocol. `reason` is a short, countable name."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MalformedFrame(WireError):
    """Not msgpack, not a map, or a map without `v` and `kind`."""


class UnsupportedVersion(WireError):
    """A newer major version than this one speaks."""


class Envelope(NamedTuple):
    """A message that names itself: version, kind and the whole map."""

    version: int
    kind: str
    body: dict[str, Any]


def pack(message: object) -> bytes:
    """The msgpack bytes of a message. What `unpack` gave can always be packed again (an id that is not UTF-8 goes back as it
    came); other lone surrogates raise UnicodeEncodeError.
    """
    packed: bytes = msgpack.packb(message, use_bin_type=True, unicode_errors="surrogateescape")
    return packed


def unpack(frame: bytes | memoryview, *, max_bytes: int = MAX_FRAME_BYTES) -> Any:
    """The object in a frame.

    Raises: MalformedFrame for anything that is not exactly one msgpack object within the limits.
    """
    if len(frame) > max_bytes:
        raise MalformedFrame("frame_too_large", f"a frame holds at most {max_bytes} bytes, got {len(frame)}")
    # A container takes a byte at least, so most frames need not be counted through.
    count = _counter(MAX_CONTAINERS) if len(frame) > MAX_CONTAINERS else None
    try:
        return msgpack.unpackb(
            frame,
            raw=False,
            strict_map_key=False,
            unicode_errors="surrogateescape",
            max_array_len=8 * MAX_ROWS,
            max_map_len=MAX_ROWS,
            max_ext_len=0,
            list_hook=count,
            object_hook=count,
        )
    except MalformedFrame:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise MalformedFrame("not_msgpack", f"not one msgpack object: {type(error).__name__}") from error


def _counter(limit: int) -> Callable[[Any], Any]:
    """A function that lets so many containers pass."""
    left = limit

    def count(container: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise MalformedFrame("frame_too_large", f"a frame holds at most {limit} maps and lists")
        return container

    return count


def unpack_envelope(frame: bytes | memoryview) -> Envelope:
    """The envelope of a frame.

    Raises: MalformedFrame, UnsupportedVersion.
    """
    body = unpack(frame)
    if not isinstance(body, dict):
        raise MalformedFrame("not_a_map", f"a message is a map, got {type(body).__name__}")
    version, kind = body.get("v"), body.get("kind")
    if type(version) is not int or not isinstance(kind, str):
        raise MalformedFrame("no_envelope", "a message has an integer `v` and a string `kind`")
    if version > PROTOCOL_MAJOR or version < 1:
        raise UnsupportedVersion("unsupported_version", f"this end speaks version {PROTOCOL_MAJOR}, got {version}")
    return Envelope(version, kind, body)
