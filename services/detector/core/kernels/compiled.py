"""The one way in which a kernel is compiled: nopython, with its signature, kept in numba's cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(signature: str, *, part: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile the function for exactly this signature, now; the plain function stays at `.py_func`. A `part` is for other kernels
    alone and becomes part of them: passing it arrays costs more than what it does.
    """
    # Wrappers that nobody calls take time to compile, and memory. (Numba's type hints know nothing of them.)
    wrappers: dict[str, Any] = {"no_cfunc_wrapper": True, "no_cpython_wrapper": part}
    decorator: Callable[[Callable[P, R]], Callable[P, R]] = njit(
        signature, cache=True, error_model="numpy", forceinline=part, **wrappers
    )
    return decorator
