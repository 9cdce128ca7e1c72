"""The shortest decimal digits that read back as the same double, compiled: R. Giulietti, "The Schubfach way to render doubles".

The same digits as Python's `repr`. Part of the compiled formatter (`line_kernel`); takes a positive, finite, normal number.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

#: The powers of ten that positive doubles meet.
_LEAST_POWER: Final = -292
_LARGEST_POWER: Final = 324


def _power(exponent: int) -> tuple[int, int]:
    """10^exponent as 128 bits, the highest set, rounded up: the upper and the lower 64."""
    shift = (exponent * 1741647 >> 19) - 127
    if exponent >= 0:
        scaled = 10**exponent << -shift if shift < 0 else -(-(10**exponent) >> shift)
    else:
        scaled = -(-(1 << -shift) // 10**-exponent)
    return scaled >> 64, scaled & (1 << 64) - 1


_POWERS = np.array([_power(exponent) for exponent in range(_LEAST_POWER, _LARGEST_POWER + 1)], np.uint64)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_HALF_BITS = np.uint64(32)
_ONE, _TWO, _FOUR, _TEN, _FORTY = map(np.uint64, (1, 2, 4, 10, 40))
_FRACTION = np.uint64((1 << 52) - 1)


@njit(inline="always")
def _product(a: Any, b: Any) -> Any:
    """The upper and the lower 64 bits of a product."""
    a_low, a_high, b_low, b_high = a & _LOW_HALF, a >> _HALF_BITS, b & _LOW_HALF, b >> _HALF_BITS
    low = a_low * b_low
    middle = a_high * b_low + (low >> _HALF_BITS)
    other = a_low * b_high + (middle & _LOW_HALF)
    return a_high * b_high + (middle >> _HALF_BITS) + (other >> _HALF_BITS), a * b


@njit(inline="always")
def _round_to_odd(high: Any, low: Any, factor: Any) -> Any:
    carry, _ = _product(low, factor)
    top, rest = _product(high, factor)
    total = rest + carry
    if total < rest:
        top += _ONE
    return top | np.uint64(total > _ONE)


@njit
def shortest(bits: Any) -> Any:
    """`(digits, exponent)` of the double whose bits these are (u64): value = digits * 10^exponent. Zeros may end the digits."""
    fraction = bits & _FRACTION
    biased = np.int64(bits >> np.uint64(52))
    c, q = fraction | np.uint64(1 << 52), biased - 1075
    odd = c & _ONE
    closer = fraction == 0 and biased > 1
    k = (q * 1262611 - (524031 if closer else 0)) >> 22
    h = np.uint64(q + (-k * 1741647 >> 19) + 1)
    high, low = _POWERS[-k - _LEAST_POWER, 0], _POWERS[-k - _LEAST_POWER, 1]
    four_c = _FOUR * c
    lower = _round_to_odd(high, low, (four_c - (_ONE if closer else _TWO)) << h) + odd
    value = _round_to_odd(high, low, four_c << h)
    upper = _round_to_odd(high, low, (four_c + _TWO) << h) - odd
    s = value // _FOUR
    if s >= _TEN:
        tens = s // _TEN
        below, above = lower <= _FORTY * tens, _FORTY * tens + _FORTY <= upper
        if below != above:
            return tens + np.uint64(above), k + 1
    below, above = lower <= _FOUR * s, _FOUR * s + _FOUR <= upper
    if below != above:
        return s + np.uint64(above), k
    middle = _FOUR * s + _TWO
    return s + np.uint64(value > middle or (value == middle and (s & _ONE) == _ONE)), k
