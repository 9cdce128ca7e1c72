"""The JSONL formatter as a compiled kernel: whole spans of rows into one buffer, a byte at a time only where it must.

Its twin is `lines.plain_lines`; both write the same bytes. Importing this module compiles (or loads from numba's cache), which
costs a second and tens of MB, so `lines.Formatter` does it only once there is a load that pays for it.

A number with at most three decimals is an integer divided by a thousand: if the quotient is the same double, its digits are the
integer's. Any other has its shortest digits from `shortest`. Rows with an error text, a call id, or a number that Python writes
with an exponent are `odd`: their lines come ready-made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from services.ingest.core.shortest import shortest

P = ParamSpec("P")
R = TypeVar("R")

#: Bytes that a copy may write beyond its end; every buffer, read or written, has so many more than it holds.
SLACK: Final = 32
#: A line's bytes besides its names: all fixed parts and four numbers at their longest, and some to spare.
FIXED_BYTES: Final = 256


def _padded(text: bytes) -> Any:
    return np.frombuffer(text + b" " * SLACK, np.uint8)


_FAILED = _padded(b',"success":false,"error":null,"resource":')
_SUCCEEDED = _padded(b',"success":true,"error":null,"resource":')
_FAILED_BYTES, _SUCCEEDED_BYTES = len(_FAILED) - SLACK, len(_SUCCEEDED) - SLACK
_CPU, _MEMORY, _DISK_IO, _END = map(_padded, (b'{"cpu":', b',"memory":', b',"diskIO":', b"}}\n"))
_NULL, _NULL_END = map(_padded, (b"null", b"null}\n"))

#: Four decimal digits of 0..9999 as the bytes of one little-endian word.
_DIGITS4 = np.array([int.from_bytes(b"%04d" % n, "little") for n in range(10_000)], np.uint32)
#: How many of them are leading zeros (none of 0 itself is kept but its last digit).
_LENGTH4 = np.array([len(str(n)) for n in range(10_000)], np.uint8)
#: Three decimals as ".ddd" and its length without trailing zeros (0 for none).
_DECIMALS3 = np.array([int.from_bytes(b".%03d" % n, "little") for n in range(1_000)], np.uint32)
_DECIMALS3_BYTES = np.array([len((b".%03d" % n).rstrip(b"0").rstrip(b".")) for n in range(1_000)], np.uint8)
#: "dd:" and "ddd" likewise.
_PAIR_COLON = np.array([int.from_bytes(b"%02d: " % n, "little") for n in range(100)], np.uint32)
_PAIR_POINT = np.array([int.from_bytes(b"%02d. " % n, "little") for n in range(100)], np.uint32)
_TEN_TO = np.array([10**n for n in range(19)], np.uint64)
_ZERO, _TEN = np.uint64(0), np.uint64(10)
_DIGIT_0, _POINT = np.uint8(ord("0")), np.uint8(ord("."))
_TRIPLE = np.array([int.from_bytes(b"%03d " % n, "little") for n in range(1_000)], np.uint32)


def _code_of_copy32(typingctx: Any, target: Any, at: Any, source: Any, start: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Copy 32 bytes, unaligned: `target[at:at+32] = source[start:start+32]`, without checks."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = ir.ArrayType(ir.IntType(64), 4).as_pointer()
        to = _address(context, builder, signature.args[0], arguments[0], arguments[1], block)
        come = _address(context, builder, signature.args[2], arguments[2], arguments[3], block)
        value = builder.load(come)
        value.align = 1
        stored = builder.store(value, to)
        stored.align = 1
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp), generate


def _code_of_store4(typingctx: Any, target: Any, at: Any, word: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Write a little-endian word at any byte: `target[at:at+4] = word`, without checks."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to = _address(context, builder, signature.args[0], arguments[0], arguments[1], ir.IntType(32).as_pointer())
        stored = builder.store(arguments[2], to)
        stored.align = 1
        return context.get_dummy_value()

    return types.void(target, types.intp, types.uint32), generate


def _code_of_bits(typingctx: Any, number: Any) -> Any:  # noqa: ARG001 - numba's signature
    """The bits of a double as an unsigned integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 - numba's signature
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.uint64(types.float64), generate


_bits_of: Any = intrinsic(_code_of_bits)
_copy32: Any = intrinsic(_code_of_copy32)
_store4: Any = intrinsic(_code_of_store4)


def _address(  # noqa: PLR0917 - numba hands them over one by one
    context: Any, builder: Any, kind: Any, array: Any, offset: Any, pointer: Any
) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    first = builder.bitcast(data, ir.IntType(8).as_pointer())
    return builder.bitcast(builder.gep(first, [offset]), pointer)


def _compiled(signature: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    decorator: Callable[[Callable[P, R]], Callable[P, R]] = njit(
        signature, cache=True, nogil=True, error_model="numpy", boundscheck=False
    )
    return decorator


def _inline(function: Callable[P, R]) -> Callable[P, R]:
    inlined: Callable[P, R] = njit(inline="always", error_model="numpy", boundscheck=False)(function)
    return inlined


@_inline
def _put(out: Any, at: Any, source: Any, start: Any, length: Any) -> Any:
    done = 0
    while done < length:
        _copy32(out, at + done, source, start + done)
        done += 32
    return at + length


@_inline
def _put_whole(out: Any, at: Any, value: Any) -> Any:
    if value >= 10_000:
        if value >= 100_000_000:
            top = value // 100_000_000
            if top >= 10_000:
                length = _LENGTH4[top // 10_000]
                _store4(out, at, _DIGITS4[top // 10_000] >> np.uint32(8 * (4 - length)))
                at += length
                _store4(out, at, _DIGITS4[top % 10_000])
                at += 4
            else:
                length = _LENGTH4[top]
                _store4(out, at, _DIGITS4[top] >> np.uint32(8 * (4 - length)))
                at += length
            _store4(out, at, _DIGITS4[value // 10_000 % 10_000])
            at += 4
        else:
            middle = value // 10_000
            length = _LENGTH4[middle]
            _store4(out, at, _DIGITS4[middle] >> np.uint32(8 * (4 - length)))
            at += length
        _store4(out, at, _DIGITS4[value % 10_000])
        return at + 4
    length = _LENGTH4[value]
    _store4(out, at, _DIGITS4[value] >> np.uint32(8 * (4 - length)))
    return at + length


@_inline
def _put_number(out: Any, at: Any, x: Any) -> Any:
    whole = np.int64(x)
    if x == np.float64(whole):
        return _put_whole(out, at, whole)
    thousandths = np.int64(np.rint(x * 1000.0)) if x < 1e12 else np.int64(0)
    if np.float64(thousandths) / 1000.0 == x:
        at = _put_whole(out, at, thousandths // 1000)
        decimals = thousandths % 1000
        _store4(out, at, _DECIMALS3[decimals])
        return at + np.int64(_DECIMALS3_BYTES[decimals])
    digits, exponent = shortest(_bits_of(x))
    while digits % _TEN == _ZERO:
        digits //= _TEN
        exponent += 1
    decimals = -exponent
    if decimals < len(_TEN_TO):
        at = _put_whole(out, at, np.int64(digits // _TEN_TO[decimals]))
        digits %= _TEN_TO[decimals]
    else:
        out[at] = _DIGIT_0
        at += 1
    out[at] = _POINT
    for place in range(at + decimals, at, -1):
        out[place] = _DIGIT_0 + np.uint8(digits % _TEN)
        digits //= _TEN
    return at + 1 + decimals


@_inline
def _put_measured(out: Any, at: Any, x: Any) -> Any:
    if x != x:  # noqa: PLR0124 - NaN: not measured
        _copy32(out, at, _NULL, 0)
        return at + 4
    return _put_number(out, at, x)


@_inline
def _is_plain(x: Any) -> Any:
    """Whether a number is written without an exponent or a sign (-0.0 has one), or was not measured."""
    if x == 0.0:
        return 1.0 / x > 0.0
    return x != x or 1e-4 <= x < 1e16  # noqa: PLR0124 - NaN: not measured


def _readable(kind: Any) -> Any:
    """A column as it lies in a received message: read-only, at any address."""
    return types.Array(kind, 1, "C", readonly=True, aligned=False)


_NUMBERS, _TIMES, _BYTES = map(_readable, (types.float64, types.int64, types.uint8))
_KEYS = _readable(types.uint32)
_ROWS, _PLACES, _BUFFER = types.uint32[::1], types.int64[::1], types.uint8[::1]


@_compiled(types.void(_NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS, _BUFFER))
def mark_odd(duration: Any, cpu: Any, memory: Any, disk_io: Any, odd: Any) -> None:
    """Set `odd` u8[n] where a number (f64[n]; an empty column was not measured) is none that `write_spans` writes."""
    for row in range(len(duration)):
        fits = _is_plain(duration[row])
        if len(cpu):
            fits &= _is_plain(cpu[row])
        if len(memory):
            fits &= _is_plain(memory[row])
        if len(disk_io):
            fits &= _is_plain(disk_io[row])
        if not fits:
            odd[row] = 1


@_compiled(types.void(_KEYS, types.int64, _ROWS, _PLACES))
def sort_by_key(keys: Any, count: Any, order: Any, starts: Any) -> None:
    """The stable counting sort: `order` u32[n] lists rows by ascending key (u32[n], below `count`), and those of key k lie
    at `starts[k]:starts[k+1]` (i64[count+1], zeros at first).
    """
    for row in range(len(keys)):
        starts[keys[row] + 1] += 1
    for key in range(count):
        starts[key + 1] += starts[key]
    for row in range(len(keys)):
        key = keys[row]
        order[starts[key]] = row
        starts[key] += 1
    for key in range(count, 0, -1):
        starts[key] = starts[key - 1]
    starts[0] = 0


_I = types.int64


@_compiled(
    types.int64(
        _ROWS,
        _I,
        _I,
        _BYTES,
        _I,
        _I,
        _TIMES,
        _NUMBERS,
        _BYTES,
        _NUMBERS,
        _NUMBERS,
        _NUMBERS,
        _BUFFER,
        _PLACES,
        _PLACES,
        _BYTES,
        _BUFFER,
    )
)
def write_span(  # noqa: PLR0917 - a kernel takes columns, not objects
    order: Any,
    first: Any,
    end: Any,
    head: Any,
    date_bytes: Any,
    head_bytes: Any,
    ts: Any,
    duration: Any,
    ok: Any,
    cpu: Any,
    memory: Any,
    disk_io: Any,
    odd: Any,
    odd_rows: Any,
    odd_ends: Any,
    odd_lines: Any,
    out: Any,
) -> int:
    """Write the rows `order[first:end]`, all of one file, to `out` u8; how many bytes.

    head: `date_bytes` of what stands before the time of day, then up to `head_bytes` what stands before the duration, and SLACK.
    odd: the lines of rows marked there (in `odd_rows`, ascending) are the bytes of `odd_lines` up to `odd_ends`.
    `out` has room for FIXED_BYTES + head_bytes a row, for all odd lines and SLACK.
    """
    name_bytes, at = head_bytes - date_bytes, 0
    for place in range(first, end):
        row = order[place]
        if odd[row]:
            found = np.searchsorted(odd_rows, row)
            begin = odd_ends[found - 1] if found else 0
            at = _put(out, at, odd_lines, begin, odd_ends[found] - begin)
            continue
        at = _put(out, at, head, 0, date_bytes)
        of_day = np.uint32(ts[row] % 86_400_000)
        seconds = of_day // np.uint32(1000)
        minutes = seconds // np.uint32(60)
        _store4(out, at, _PAIR_COLON[minutes // np.uint32(60)])
        _store4(out, at + 3, _PAIR_COLON[minutes % np.uint32(60)])
        _store4(out, at + 6, _PAIR_POINT[seconds % np.uint32(60)])
        _store4(out, at + 9, _TRIPLE[of_day % np.uint32(1000)])
        at = _put(out, at + 12, head, date_bytes, name_bytes)
        at = _put_number(out, at, duration[row])
        if ok[row]:
            _copy32(out, at, _SUCCEEDED, 0)
            _copy32(out, at + 32, _SUCCEEDED, 32)
            at += _SUCCEEDED_BYTES
        else:
            _copy32(out, at, _FAILED, 0)
            _copy32(out, at + 32, _FAILED, 32)
            at += _FAILED_BYTES
        c = cpu[row] if len(cpu) else np.nan
        m = memory[row] if len(memory) else np.nan
        d = disk_io[row] if len(disk_io) else np.nan
        if c != c and m != m and d != d:  # noqa: PLR0124 - NaN: not measured
            _copy32(out, at, _NULL_END, 0)
            at += 6
            continue
        _copy32(out, at, _CPU, 0)
        at = _put_measured(out, at + 7, c)
        _copy32(out, at, _MEMORY, 0)
        at = _put_measured(out, at + 10, m)
        _copy32(out, at, _DISK_IO, 0)
        at = _put_measured(out, at + 10, d)
        _copy32(out, at, _END, 0)
        at += 3
    return at
