"""The one way in which a kernel is compiled: nopython, with its signature, kept in numba's cache.

Numba knows a kept kernel by the bytes of its own file alone; those of other files that became part of it may have changed since,
and with them the length of a row. So each is kept in a folder named after all sources it is made of.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from numba import njit
from numba.core import config

P = ParamSpec("P")
R = TypeVar("R")

#: Modules whose source may become part of a kernel.
_OURS: Final = "services.detector.core."
#: Its attributes are set at run time; type checkers see none.
_CONFIG: Final[Any] = config
_BEFORE: Final[str] = _CONFIG.CACHE_DIR
_CACHE: Final = Path(_BEFORE or Path(__file__).with_name("__pycache__"))


def compiled(signature: str, *, part: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile the function for exactly this signature, now; the plain function stays at `.py_func`. A `part` is for other kernels
    alone and becomes part of them: passing it arrays costs more than what it does.
    """
    # Wrappers that nobody calls take time to compile, and memory. (Numba's type hints know nothing of them.)
    wrappers: dict[str, Any] = {"no_cfunc_wrapper": True, "no_cpython_wrapper": part}
    decorator: Callable[[Callable[P, R]], Callable[P, R]] = njit(
        signature, cache=True, error_model="numpy", forceinline=part, **wrappers
    )

    def keep(function: Callable[P, R]) -> Callable[P, R]:
        _CONFIG.CACHE_DIR = str(_CACHE / f"kernels-{_digest(function.__module__)}")
        try:
            return decorator(function)
        finally:
            _CONFIG.CACHE_DIR = _BEFORE  # what others compile has a place of its own

    return keep


@cache
def _digest(module: str) -> str:
    """Of a module's source and, through their digests, of all of ours that it imports."""
    source = Path(str(sys.modules[module].__file__)).read_bytes()
    digests = [_digest(name) for name in sorted(set(_imported(ast.parse(source))))]
    return hashlib.sha256(b"\0".join([source, *(digest.encode() for digest in digests)])).hexdigest()[:16]


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and f"{node.module}.".startswith(_OURS):
            names = (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
            yield from (name for name in names if name in sys.modules)
