"""What happens to producers when they are forgotten, when the process ends and when it forks.

A producer that is garbage-collected goes on delivering what it holds, in its own thread, without holding anybody up. The end of
the process waits for all producers together, for a bounded time. A forked child starts afresh.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import Final

from perfmon.producer.sender import Sender

#: How long the end of a process may be held up to deliver what waits.
EXIT_TIMEOUT_S: Final = 1.0
#: When nobody takes messages for this long then, the rest is dropped at once.
EXIT_GRACE_S: Final = 0.3

_senders: set[Sender] = set()
_watched_pid: int | None = None


def keep(owner: object, sender: Sender) -> None:
    """Have the sender finish when its owner is collected or the process ends."""
    for ended in [known for known in list(_senders) if known.ended]:
        _senders.discard(ended)
    _senders.add(sender)
    weakref.finalize(owner, sender.begin_stop, EXIT_TIMEOUT_S, grace_s=EXIT_GRACE_S).atexit = False


def forget(sender: Sender) -> None:
    """The sender was closed."""
    _senders.discard(sender)


def finish_all() -> None:
    """The process ends: deliver what waits everywhere, for about a second in all."""
    ending = [sender for sender in list(_senders) if sender.running]
    for sender in ending:
        sender.begin_stop(EXIT_TIMEOUT_S, grace_s=EXIT_GRACE_S)
    for sender in ending:
        sender.finish_stop()


def watch_worker_process() -> None:
    """In a worker of multiprocessing, which ends without atexit, have its own exit functions do the same."""
    global _watched_pid  # noqa: PLW0603 - one registration a process
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is None or process is None or _watched_pid == os.getpid() or process.parent_process() is None:
        return
    _watched_pid = os.getpid()
    util.Finalize(None, finish_all, exitpriority=0)


def _start_afresh_in_child() -> None:
    for sender in list(_senders):
        sender.start_afresh()


atexit.register(finish_all)
os.register_at_fork(after_in_child=_start_afresh_in_child)
