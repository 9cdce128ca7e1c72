"""Kernels compiled in processes of their own, by importing their modules there; what stays is numba's cache.

The compiler's memory ends with those processes, and so does its hold on the interpreter, seconds long. Knows no numba and no
kernel, nor what to do if it fails: a service then compiles for itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

#: The tree that this process runs from.
_TREE: Final = Path(__file__).parents[1]


def compile_apart(*shares: Sequence[str], timeout_s: float) -> bool:
    """Import each share's modules in a process of its own, all at the same time; whether all of them could be imported.

    One that takes longer than `timeout_s` is killed. None is left behind, whatever is raised here meanwhile.

    Raises: OSError if no process can be started.
    """
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for modules in shares:
            processes.append(_import(modules))
        codes = [_code(process, timeout_s) for process in processes]
        return not any(codes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _import(modules: Sequence[str]) -> subprocess.Popen[bytes]:
    # -P: what lies in the working directory must not be taken for ours.
    command = [sys.executable, "-P", "-c", f"import {', '.join(modules)}"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(_TREE)})


def _code(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    """The exit code, -1 of one that takes too long."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return -1
