"""`python -m services.detector`."""

import os
import sys

from perfmon.paths import user_cache_directory
from shared.runtime.service import main

if __name__ == "__main__":
    # Read when numba is imported; never from the data directory, for numba unpickles what it finds there.
    os.environ.setdefault("NUMBA_CACHE_DIR", str(user_cache_directory() / "numba"))
    from services.detector.shell.service import build

    sys.exit(main("detector", build))
