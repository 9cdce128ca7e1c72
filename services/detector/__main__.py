"""`python -m services.detector`."""

import os
import sys
from pathlib import Path

from perfmon.paths import user_cache_directory
from services.detector.kernel_builds import build_kernels
from shared.runtime.service import main

if __name__ == "__main__":
    # Read when numba is imported; never from the data directory, for numba unpickles what it finds there.
    cache = os.environ.setdefault("NUMBA_CACHE_DIR", str(user_cache_directory() / "numba"))
    build_kernels(Path(cache))
    from services.detector.shell.service import build

    sys.exit(main("detector", build))
