"""`perfmon mcp`: the stdio gateway in this very process. No typer, no rich: it answers `tools/list` within a second.

Stdout belongs to MCP; what goes wrong is said on stderr.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from typing import Final

from perfmon.paths import DATA_DIRECTORY_VARIABLE, application_root

_DATA_OPTIONS: Final = ("--data", "--data-dir")
_USAGE: Final = """\
usage: perfmon mcp [--data DIR]

Serve the performance monitor's tools over stdio, for an MCP client to start. Starts a pipeline on the data directory if none
runs, and leaves it running.

  --data DIR    the data directory (default: PERFMON_DATA_DIR, the nearest .performance-data, or your own)
"""


def run(arguments: Sequence[str]) -> int:
    """Become the stdio gateway; the exit code."""
    rest = list(arguments)
    if rest[:1] in (["-h"], ["--help"]):
        sys.stdout.write(_USAGE)
        return 0
    option, sign, value = rest[0].partition("=") if rest else ("", "", "")
    if option in _DATA_OPTIONS and (sign or len(rest) > 1):
        os.environ[DATA_DIRECTORY_VARIABLE] = value if sign else rest[1]
        rest = rest[1:] if sign else rest[2:]
    if rest:
        sys.stderr.write(f"perfmon mcp: unknown argument {rest[0]!r}\n{_USAGE}")
        return 2
    # First on the path, so that neither the working directory nor PYTHONPATH can put other `services` before ours.
    sys.path.insert(0, str(application_root()))
    sys.argv = ["perfmon mcp", "--stdio"]
    runpy.run_module("services.gateway", run_name="__main__", alter_sys=True)
    return 0
