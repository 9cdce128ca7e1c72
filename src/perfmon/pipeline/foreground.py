"""Run a pipeline in the foreground: start it, tell what changes, start it again when supervisord is killed, stop it at the end.

Owns the watching loop of `perfmon run`. What it tells is a line of text at a time; who prints it is not its business.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from perfmon.paths import SERVICES, DataDirectory
from perfmon.pipeline.ask import ping_all
from perfmon.pipeline.by_hand import supervisord_by_hand
from perfmon.pipeline.errors import ControlError, PipelineError
from perfmon.pipeline.launch import died
from perfmon.pipeline.locks import held, holder, is_held, launch_lock, supervisor_lock
from perfmon.pipeline.logs import tail
from perfmon.pipeline.report import Answer
from perfmon.pipeline.shutdown import stop
from perfmon.pipeline.spawn import spawn, supervisor_of

#: Pause between two looks at the services.
LOOK_EVERY_S: Final = 1.0
#: While something is not ready it is looked at more often.
LOOK_SOON_S: Final = 0.2
#: Pauses before a killed supervisord is started again.
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0

Say = Callable[[str], None]


class AlreadyRunning(PipelineError):
    """A pipeline runs on this data directory already; `pid` is its supervisord's."""

    def __init__(self, data: DataDirectory, pid: int | None) -> None:
        super().__init__(f"a pipeline already runs on {data.root} (supervisord pid {pid})")
        self.pid = pid


@dataclass(frozen=True, slots=True)
class Seen:
    """One service at one look: its pid if it answered, whether it was ready, supervisord's word for its state."""

    pid: int | None = None
    ready: bool = False
    state: str | None = None


def changes(before: Mapping[str, Seen], after: Mapping[str, Seen]) -> list[str]:
    """What to tell of two looks, service by service. Pure."""
    told = []
    for name, now in after.items():
        was = before.get(name, Seen())
        if now.state == "FATAL" and was.state != "FATAL":
            told.append(f"{name} was given up by supervisord (FATAL); the watchdog will start it again")
        elif now.ready and was.pid not in {None, now.pid}:
            told.append(f"{name} was restarted and is ready (pid {now.pid})")
        elif now.ready and not was.ready:
            told.append(f"{name} is ready (pid {now.pid})")
        elif was.ready and not now.ready:
            told.append(f"{name} does not answer" if now.pid is None else f"{name} is not ready (pid {now.pid})")
    return told


class Foreground:
    """A pipeline that lives as long as `run`. `on_ready` is called once, when all services are ready for the first time."""

    def __init__(
        self, data: DataDirectory, say: Say, on_ready: Callable[[Mapping[str, Answer]], None], *, attach: bool = False
    ) -> None:
        self._data = data
        self._say = say
        self._on_ready = on_ready
        self._attach = attach
        self._attached = False
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[str, Seen] = {}
        self._was_ready = False
        self._pause_s = FIRST_PAUSE_S

    def run(self, stopping: threading.Event) -> int:
        """Run until `stopping` is set or the pipeline is stopped from elsewhere; 0.

        Raises: AlreadyRunning, LaunchFailed, Busy.
        """
        self._data.create()
        self._start()
        try:
            while not stopping.is_set():
                if not self._look(stopping):
                    return 0
                stopping.wait(LOOK_EVERY_S if self._was_ready else LOOK_SOON_S)
        finally:
            if not self._attached:
                self._stop()
        return 0

    def _start(self) -> None:
        with held(launch_lock(self._data), 30.0):
            ours = is_held(supervisor_lock(self._data))
            by_hand = supervisord_by_hand(self._data)
            if ours or by_hand is not None:
                if not self._attach:
                    raise AlreadyRunning(self._data, holder(supervisor_lock(self._data)) if ours else by_hand)
                self._attached = True
                return
            self._process = spawn(self._data, started_by="run", foreground=True)
        self._say(f"supervisord started (pid {self._process.pid})")

    def _look(self, stopping: threading.Event) -> bool:
        """Tell what changed; False when the pipeline was stopped from elsewhere."""
        if self._process is not None and self._process.poll() is not None:
            return self._revive(stopping)
        answers = ping_all(self._data)
        seen = _seen(answers, self._states())
        for line in changes(self._seen, seen):
            self._say(line)
        self._tell_why(seen)
        self._seen = {name: _merge(self._seen.get(name, Seen()), now) for name, now in seen.items()}
        if not self._was_ready and len(seen) == len(SERVICES) and all(now.ready for now in seen.values()):
            self._was_ready = True
            self._pause_s = FIRST_PAUSE_S
            self._on_ready(answers)
        return not (self._attached and not answers and not is_held(supervisor_lock(self._data)))

    def _revive(self, stopping: threading.Event) -> bool:
        if not died(self._data):
            self._say("the pipeline was stopped from elsewhere")
            return False
        self._say(f"supervisord died; starting it again in {self._pause_s:g} s")
        if stopping.wait(self._pause_s):
            return True
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        with held(launch_lock(self._data), 30.0):
            if is_held(supervisor_lock(self._data)):
                self._attached, self._process = True, None  # a gateway was quicker
                return True
            self._process = spawn(self._data, started_by="run", foreground=True)
        return True

    def _stop(self) -> None:
        self._say("stopping the pipeline")
        stop(self._data)
        if self._process is not None:
            self._process.wait()
        self._say("stopped")

    def _states(self) -> dict[str, str]:
        supervisor = supervisor_of(self._data)
        try:
            return {} if supervisor is None else {process.name: process.state for process in supervisor.processes()}
        except ControlError:
            return {}

    def _tell_why(self, seen: Mapping[str, Seen]) -> None:
        for name, now in seen.items():
            if now.state == "FATAL" and self._seen.get(name, Seen()).state != "FATAL":
                for line in tail(self._data.logs / f"{name}.log", 4):
                    self._say(f"  {name}: {line}")


def _seen(answers: Mapping[str, Answer], states: Mapping[str, str]) -> dict[str, Seen]:
    found = {}
    for name in SERVICES:
        answer = answers.get(name)
        pid, ready = (None, False) if answer is None else (answer.pid, answer.ready)
        found[name] = Seen(pid, ready, states.get(name))
    return found


def _merge(was: Seen, now: Seen) -> Seen:
    """Remember the last pid of a service that is silent, so that its return is told as a restart."""
    return now if now.pid is not None else Seen(was.pid, ready=False, state=now.state)
