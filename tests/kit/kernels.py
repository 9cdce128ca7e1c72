"""Compiled kernels, kept between runs in one place for the tests' own process and for whatever it starts.

Services have a home, and thus a cache, of their own in each test: without this they would compile for half a minute.
`python -m tests.kit.kernels` compiles what is missing ahead, on all cores, so that no two workers of pytest do it at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from services.detector.kernel_builds import TIMEOUT_S, build_kernels
from shared.compiling import compile_apart

CACHES: Final = Path(__file__).parents[2] / ".pytest_cache"


def keep_kernels() -> Path:
    """Name the place in the environment, unless another is; it is read when numba is imported, and by pipelines."""
    os.environ.setdefault("XDG_CACHE_HOME", str(CACHES))
    return Path(os.environ.setdefault("NUMBA_CACHE_DIR", str(CACHES / "perfmon" / "numba")))


if __name__ == "__main__":
    folder = keep_kernels()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if build_kernels(folder):
        compile_apart(("services.ingest.core.line_kernel",), timeout_s=TIMEOUT_S)
