"""Take descriptors 0 and 1 for the protocol, before anything else can print.

Imports next to nothing, because it runs first.
"""

from __future__ import annotations

import fcntl
import os
import sys
from typing import NamedTuple


class Wire(NamedTuple):
    """Private duplicates of the descriptors that carry MCP."""

    read_fd: int
    write_fd: int


def claim_standard_streams() -> Wire:
    """Move descriptors 0 and 1 away: reads of stdin then meet its end, and everything printed goes to stderr."""
    sys.stdout.flush()
    wire = Wire(*(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (0, 1)))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # started without a stderr
        os.dup2(nothing, 1)
    os.close(nothing)
    sys.stdout = sys.stderr
    return wire
