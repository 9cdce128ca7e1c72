"""What the forwarder tells the observer: a header and a copy of what was forwarded. Pure.

A frame is `<kind u8> <stamp i64, ns of the monotonic clock> <length u32>` and so many bytes, little-endian. Both ends are always
of the same release, so there is no version.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import BinaryIO, Final, NamedTuple

HEADER: Final = struct.Struct("<BqI")


class FrameKind(IntEnum):
    """What a frame holds."""

    TO_SERVER = 1  # bytes the client sent
    TO_CLIENT = 2  # bytes the server sent
    GAP_TO_SERVER = 3  # bytes the client sent were forwarded but not copied
    GAP_TO_CLIENT = 4  # likewise of the server
    EXIT = 5  # the server ended and all it wrote was forwarded; no bytes


class Frame(NamedTuple):
    """One header and its bytes."""

    kind: FrameKind
    stamp_ns: int
    data: bytes


def encode_header(kind: FrameKind, stamp_ns: int, length: int) -> bytes:
    """The header of a frame of `length` bytes."""
    return HEADER.pack(kind, stamp_ns, length)


def read_frames(stream: BinaryIO) -> Iterator[Frame]:
    """Every whole frame until the other end is gone; a torn last one is left out."""
    while len(header := stream.read(HEADER.size)) == HEADER.size:
        kind, stamp_ns, length = HEADER.unpack(header)
        data = stream.read(length)
        if len(data) < length:
            return
        yield Frame(FrameKind(kind), stamp_ns, data)
