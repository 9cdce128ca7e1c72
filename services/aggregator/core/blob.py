"""A block as bytes for a row of SQLite: every column in the narrowest type that holds it exactly.

A minute of 196 busy series is about 45 KB. The bytes may have come with someone's clone, so reading checks that they are a
block and refuses anything else.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.aggregator.core.block import (
    ADD_ROWS,
    CPU_SUM,
    DISK_SUM,
    HIGH_ROWS,
    LOW_ROWS,
    MEMORY_SUM,
    SUM,
    Block,
    Float64,
)

#: Version of the layout; a block of another one is refused.
VERSION: Final = 1

_HEAD: Final = struct.Struct("<BIIq")
_FLOAT_ADD_ROWS: Final = frozenset({SUM, CPU_SUM, MEMORY_SUM, DISK_SUM})
_WHOLE_TYPES: Final = ("<u1", "<u2", "<u4", "<u8")
_FLOAT: Final = "<f8"
#: A column that has the same value everywhere is that value alone.
_SAME: Final = "="
_CODES: Final = {"1": "<u1", "2": "<u2", "4": "<u4", "8": "<u8", "f": "<f8"}
_CODE_OF: Final = {dtype: code for code, dtype in _CODES.items()}


class BadBlob(ValueError):
    """Bytes that are not a block of ours."""


def encode_block(block: Block) -> bytes:
    """The bytes of a block."""
    base = int(block.low[1].min()) if len(block) else 0
    out = [_HEAD.pack(VERSION, len(block), len(block.keys), base)]
    out.append(_packed(_steps(block.series)))
    for row in range(ADD_ROWS):
        out.append(_packed_floats(block.add[row]) if row in _FLOAT_ADD_ROWS else _packed(block.add[row]))
    out += [_packed_floats(block.low[0]), _packed(block.low[1] - base)]
    out += [_packed_floats(block.high[0]), _packed(block.high[1] - base)]
    out += [_packed_floats(block.high[row]) for row in range(2, HIGH_ROWS)]
    out += [_packed(_steps(block.keys)), _packed(block.counts)]
    return b"".join(out)


def decode_block(data: bytes, ids: int) -> Block:
    """The block in some bytes; its series are below `ids`.

    Raises: BadBlob.
    """
    try:
        block = _decode(data)
        block.validate()
    except (struct.error, ValueError, IndexError, KeyError, AssertionError) as error:
        raise BadBlob(f"not a block: {error}") from error
    if len(block) and int(block.series[-1]) >= ids:
        raise BadBlob("a block names a series that is not known")
    if not all(np.isfinite(column).all() for column in (block.add, block.low, block.high[:2])):
        raise BadBlob("a block with a figure that is no number")
    return block


def _decode(data: bytes) -> Block:
    version, n, m, base = _HEAD.unpack_from(data)
    if version != VERSION:
        raise BadBlob(f"layout {version}, this program knows {VERSION}")
    reader = _Reader(data, _HEAD.size)
    series = np.cumsum(reader.column(n)).astype(np.int32)
    add = np.empty((ADD_ROWS, n))
    for row in range(ADD_ROWS):
        add[row] = reader.column(n)
    low, high = np.empty((LOW_ROWS, n)), np.empty((HIGH_ROWS, n))
    low[0], low[1] = reader.column(n), reader.column(n)
    high[0], high[1] = reader.column(n), reader.column(n)
    low[1] += base
    high[1] += base
    for row in range(2, HIGH_ROWS):
        high[row] = reader.column(n)
    keys = np.cumsum(reader.column(m)).astype(np.int32)
    counts = reader.column(m)
    if reader.at != len(data):
        raise BadBlob("bytes after the end")
    return Block(series, add, low, high, keys, counts)


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def column(self, n: int) -> Float64:
        code = chr(self._data[self.at])
        self.at += 1
        same = code == _SAME
        if same:
            code = "f"
        dtype = np.dtype(_CODES[code])
        found = np.frombuffer(self._data, dtype, 1 if same else n, self.at)
        self.at += found.nbytes
        return np.full(n, found[0]) if same else found.astype(np.float64)


def _steps(ascending: NDArray[Any]) -> NDArray[Any]:
    return np.diff(ascending, prepend=0)


def _packed(column: NDArray[Any]) -> bytes:
    """Whole numbers from 0."""
    top = int(column.max()) if len(column) else 0
    dtype = next(dtype for dtype in _WHOLE_TYPES if top < 1 << (8 * np.dtype(dtype).itemsize))
    return _CODE_OF[dtype].encode() + column.astype(dtype).tobytes()


def _packed_floats(column: Float64) -> bytes:
    if len(column) and (column == column[0]).all():
        return _SAME.encode() + column[:1].astype(_FLOAT).tobytes()
    return _CODE_OF[_FLOAT].encode() + column.astype(_FLOAT).tobytes()
