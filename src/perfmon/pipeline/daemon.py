"""The process that becomes supervisord: `python -m perfmon.pipeline.daemon --data DIR --config FILE`.

Owns the supervisord lock, held from before supervisord's first line until the process dies, so that the lock says whether a
pipeline lives. In the foreground it dies with whoever started it (Linux); detached it leaves its parent and lives on. Removes
the record when supervisord ends in order.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from perfmon.paths import DataDirectory
from perfmon.pipeline.errors import Busy
from perfmon.pipeline.locks import supervisor_lock, take
from perfmon.pipeline.record import remove_record

#: supervisord closes what it did not open from descriptor 5 on when it is reloaded; children close from 3 on.
LOCK_DESCRIPTOR: Final = 3
#: Others look at the lock by taking it for an instant; a holder that stays longer is another supervisord.
LOCK_WAIT_S: Final = 2.0
#: Exit codes: another supervisord serves this data directory; supervisord could not start.
EXIT_BUSY: Final = 75
_PR_SET_PDEATHSIG: Final = 1


def main(arguments: Sequence[str]) -> int:
    """Become supervisord; its exit code."""
    options = _parse(arguments)
    data = DataDirectory(Path(options.data))
    os.umask(0o077)
    if options.detach and os.fork():
        os._exit(0)
    if options.parent:
        _die_with(options.parent)
    try:
        descriptor = take(supervisor_lock(data), LOCK_WAIT_S)
    except Busy as busy:
        sys.stderr.write(f"supervisord runs already for this data directory: pid {busy.holder}\n")
        return EXIT_BUSY
    _keep(descriptor)
    return _supervise(data, options.config)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="perfmon.pipeline.daemon")
    parser.add_argument("--data", required=True, help="the data directory's real path")
    parser.add_argument("--config", required=True, help="the rendered configuration")
    parser.add_argument("--detach", action="store_true", help="leave the parent at once")
    parser.add_argument("--parent", type=int, default=0, help="stop when this process dies")
    return parser.parse_args(arguments)


def _keep(descriptor: int) -> None:
    """Hold the lock on a descriptor that supervisord leaves alone and that no child inherits."""
    if descriptor != LOCK_DESCRIPTOR:
        fcntl.fcntl(descriptor, fcntl.F_GETFD)
        os.dup2(descriptor, LOCK_DESCRIPTOR, inheritable=False)
        os.close(descriptor)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)


def _supervise(data: DataDirectory, config: str) -> int:
    from supervisor import supervisord

    sys.argv = ["supervisord", "--nodaemon", "--configuration", config]
    code = 0
    try:
        supervisord.main(sys.argv[1:])
    except SystemExit as exit_:  # a configuration it cannot read, a socket it cannot bind; stderr says which
        code = exit_.code if isinstance(exit_.code, int) else 1
    if code == 0:
        remove_record(data)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
