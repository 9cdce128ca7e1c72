"""What tests of kernels against their twins share: a mark that says of which kernels they are, and values that break code."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

from hypothesis import example
from hypothesis import strategies as st

F = TypeVar("F", bound=Callable[..., Any])

TINY: Final = 5e-324
ABSURD: Final = [0.0, -0.0, -1.0, 1e300, -1e300, TINY, 1e-310, math.inf, -math.inf, math.nan, 1.0, 1.0, 1e9]
#: Lists of values, each of which a kernel is given.
AWKWARD: Final[dict[str, list[float]]] = {
    "empty": [],
    "one element": [42.0],
    "constant": [7.5] * 30,
    "NaN": [math.nan, 1.0, math.nan, 2.0],
    "inf": [1.0, math.inf, -math.inf, 2.0],
    "1e300": [1e300, 1.0, -1e300, 1e300],
    "denormal": [TINY, 1e-310, 0.0, -0.0, TINY],
}

any_value = st.one_of(st.sampled_from(ABSURD), st.floats(width=64))
sensible = st.floats(0.01, 1e6)
some_values = st.one_of(
    st.lists(any_value, max_size=40), st.lists(sensible, max_size=60), st.lists(st.just(42.0), max_size=30)
)


def against_twin(*kernels: Any) -> Callable[[F], F]:
    """Mark a test as the one that holds these kernels, and the parts they are made of, against their twin."""

    def mark(test: F) -> F:
        test.kernels = kernels  # type: ignore[attr-defined] - a mark for `test_detector_every_kernel_has_a_twin`
        return test

    return mark


def awkward(*more: Any, **named: Any) -> Callable[[F], F]:
    """Give a test, whose first argument is a list of values, each of AWKWARD; `more` are its other arguments."""

    def add(test: F) -> F:
        for values in AWKWARD.values():
            test = example(values, *more, **named)(test)
        return test

    return add
