"""The environment this process was given, before Python's own start-up added to it."""

from __future__ import annotations

import os
from pathlib import Path


def original_environment() -> dict[bytes, bytes]:
    """What to give to a child so that it sees what we were given.

    In the C locale Python sets LC_CTYPE for itself and its children (PEP 538). On Linux the kernel keeps what we were
    started with; elsewhere the variable is left out when it holds what Python would have set.
    """
    current = dict(os.environb)
    given = _given_by_the_kernel()
    if given is not None:
        if b"LC_CTYPE" not in given:
            current.pop(b"LC_CTYPE", None)
    elif current.get(b"LC_CTYPE") in (b"C.UTF-8", b"C.utf8", b"UTF-8") and b"LANG" not in current:
        current.pop(b"LC_CTYPE", None)
    return current


def _given_by_the_kernel() -> set[bytes] | None:
    try:
        block = Path("/proc/self/environ").read_bytes()
    except OSError:
        return None
    return {entry.partition(b"=")[0] for entry in block.split(b"\0")}
