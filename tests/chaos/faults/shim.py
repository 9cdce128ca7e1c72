"""A library that makes SQLite's syncs fail, where there is a C compiler: nothing in Python reaches SQLite's own calls."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int spoiled(void) {
    const char *file = getenv("CHAOS_FAIL_SYNC");
    int before = errno, found = file && access(file, F_OK) == 0;
    errno = before;
    return found;
}

#define FAILING(name)                                                                  \
    int name(int descriptor) {                                                         \
        static int (*real)(int);                                                       \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name);                       \
        if (spoiled()) { errno = EIO; return -1; }                                     \
        return real(descriptor);                                                       \
    }

FAILING(fsync)
FAILING(fdatasync)
FAILING(syncfs)
"""


class SyncShim:
    """While `failing`, every fsync, fdatasync and syncfs of processes with this `environment` answers EIO."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if sys.platform != "linux" or compiler is None:
            pytest.skip("no C compiler to make SQLite's syncs fail with")
        library, source = folder / "shim.so", folder / "shim.c"
        source.write_text(SOURCE)
        done = subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            pytest.skip(f"the shim does not compile here: {done.stderr[:200]}")
        self._flag = folder / "syncs-fail"
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_FAIL_SYNC": str(self._flag)}

    @property
    def failing(self) -> bool:
        return self._flag.exists()

    @failing.setter
    def failing(self, value: bool) -> None:
        if value:
            self._flag.touch()
        else:
            self._flag.unlink(missing_ok=True)
