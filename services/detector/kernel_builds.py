"""Kernels that this machine has never compiled are compiled in processes of their own, before the detector imports them.

The compiler's memory, a hundred megabytes, ends with those processes, and two of them take half the time of one. What they leave
in numba's cache is all that the detector gets from them: should they fail, it compiles for itself. Knows no numba and no kernel.
"""

from __future__ import annotations

import hashlib
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

from shared.compiling import compile_apart

_CORE: Final = "services.detector.core"
#: What each process imports, so that they end at about the same time. What both need is needed last by the second.
_SHARES: Final = (
    (f"{_CORE}.kernels.absorb",),
    (
        f"{_CORE}.signal.minutes",
        f"{_CORE}.kernels.server_errors",
        f"{_CORE}.kernels.screen",
        f"{_CORE}.kernels.named",
        f"{_CORE}.kernels.starts",
    ),
)
#: A compilation that takes longer is left to the detector itself; two busy cores take 20 s.
TIMEOUT_S: Final = 60.0


def build_kernels(cache: Path) -> bool:
    """Fill numba's cache, unless that was done for these very sources and packages; returns whether anything was compiled."""
    mark = cache / f"built-{_digest()}"
    if mark.exists():
        return False
    with _ended_by_sigterm():
        compiled = compile_apart(*_SHARES, timeout_s=TIMEOUT_S)
    if compiled:
        with suppress(OSError):
            mark.touch()
    return True


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Within, SIGTERM raises, so that the processes are not left behind."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _digest() -> str:
    """Of everything that compiled kernels depend on, but the processor: numba sees to that."""
    sources = sorted((Path(__file__).parent / "core").rglob("*.py"))
    parts = [sys.version, platform.machine(), version("numba"), version("numpy")]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
