"""Wait until every service says that it is ready, or say which one is not and why.

Ready is what `ping` answers; supervisord is asked only for what it has given up on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from perfmon.paths import SERVICES, DataDirectory
from perfmon.pipeline.ask import ping_all
from perfmon.pipeline.errors import ControlError, LaunchFailed, NotReady
from perfmon.pipeline.locks import is_held, supervisor_lock
from perfmon.pipeline.logs import tail
from perfmon.pipeline.processes import parent_of
from perfmon.pipeline.report import Answer
from perfmon.pipeline.spawn import supervisor_of

#: Pause between two rounds of questions.
ROUND_S: Final = 0.1
#: How long one round waits for answers; a service that compiles kernels may be slow to answer.
ROUND_TIMEOUT_S: Final = 0.5

#: Called after each round with (ready services, all services).
Progress = Callable[[Mapping[str, Answer], int], None]


def wait_ready(
    data: DataDirectory, *, wait_s: float, supervisor_pid: int | None, progress: Progress | None = None
) -> dict[str, Answer]:
    """The answers of all services once all are ready. With the pid of our supervisord only its children count, and it must
    stay alive; None is for one that was started by hand.

    Raises: NotReady when supervisord gave one up or the time is over, LaunchFailed when supervisord itself died.
    """
    deadline = time.monotonic() + wait_s
    while True:
        found = ping_all(data, timeout_s=ROUND_TIMEOUT_S)
        # Orphans of a killed supervisord still answer for a moment; what they say is not what was started.
        answers = {name: answer for name, answer in found.items() if supervisor_pid in {None, parent_of(answer.pid)}}
        ready = {name: answer for name, answer in answers.items() if answer.ready}
        if progress is not None:
            progress(ready, len(SERVICES))
        if len(ready) == len(SERVICES):
            return ready
        missing = [name for name in SERVICES if name not in ready]
        given_up = _given_up(data, missing)
        if given_up:
            raise _not_ready(data, given_up)
        if supervisor_pid is not None and not is_held(supervisor_lock(data)):
            raise LaunchFailed("supervisord died while the services were starting", tail(data.logs / "supervisord.log"))
        if time.monotonic() >= deadline:
            raise _not_ready(data, {name: _why(answers.get(name), wait_s) for name in missing})
        time.sleep(ROUND_S)


def _given_up(data: DataDirectory, missing: list[str]) -> dict[str, str]:
    supervisor = supervisor_of(data)
    if supervisor is None:
        return {}
    try:
        states = {process.name: process for process in supervisor.processes()}
    except ControlError:
        return {}
    return {
        name: f"supervisord gave it up ({states[name].description})"
        for name in missing
        if name in states and states[name].state == "FATAL"
    }


def _why(answer: Answer | None, wait_s: float) -> str:
    if answer is None:
        return f"did not answer within {wait_s:g} s"
    return f"answers but was not ready within {wait_s:g} s (it may be catching up)"


def _not_ready(data: DataDirectory, reasons: Mapping[str, str]) -> NotReady:
    return NotReady(reasons, {name: tail(data.logs / f"{name}.log") for name in reasons})
