"""Carries out what the core decides: asks the services, speaks to supervisord, logs each decision with its reason.

Owns the event listener's loop. Needs pyzmq and msgpack alone and stays under 20 MB, so it logs by itself in the services'
format. Ends when supervisord closes its input.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from perfmon.paths import SERVICES, DataDirectory, resolve_data_directory
from perfmon.pipeline.ask import ask_all
from perfmon.pipeline.record import read_record
from services.watchdog.core import (
    Action,
    AskStates,
    Event,
    IdleSeen,
    Kill,
    ProcessChanged,
    RoundEnded,
    ShutdownBegan,
    Start,
    StopPipeline,
    Watchdog,
)
from services.watchdog.protocol import ListenerEvent, acknowledge, next_event
from services.watchdog.work import Work

if TYPE_CHECKING:
    from perfmon.pipeline.control import Supervisor

#: How long a round waits for answers; a service that is only busy answers within it.
ROUND_TIMEOUT_S: Final = 2.0
#: Rounds between two looks at whether anybody still needs the pipeline (a minute).
ROUNDS_PER_IDLE_CHECK: Final = 12

_STATE_EVENT: Final = "PROCESS_STATE_"


class Shell:
    """The watchdog of one data directory."""

    def __init__(self, data: DataDirectory, now_ms: int) -> None:
        self._data = data
        self._core = Watchdog(SERVICES, now_ms)
        self._work = Work(data)
        self._rounds = 0

    def take(self, event: ListenerEvent) -> None:
        """Deal with one event of supervisord."""
        if event.name.startswith(_STATE_EVENT):
            self._handle(ProcessChanged(event.fields.get("processname", ""), event.name.removeprefix(_STATE_EVENT)))
        elif event.name == "SUPERVISOR_STATE_CHANGE_STOPPING":
            self._handle(ShutdownBegan())
        elif event.name.startswith("TICK"):
            self._round()

    def _round(self) -> None:
        answered = frozenset(ask_all(self._data, "ping", timeout_s=ROUND_TIMEOUT_S))
        self._handle(RoundEnded(answered, self._work.since_last_round(set(SERVICES) - answered)))
        self._rounds += 1
        if self._rounds % ROUNDS_PER_IDLE_CHECK == 0:
            self._look_for_idleness()

    def _look_for_idleness(self) -> None:
        record = read_record(self._data)
        if record is None or record.idle_stop_s is None:
            return
        stats = ask_all(self._data, "stats", ("ingest",), timeout_s=ROUND_TIMEOUT_S).get("ingest")
        if stats is None:
            return  # nobody can say when the last metric came
        times = [stats.get(key) for key in ("lastMetricMs", "lastHelloMs")]
        last_ms = max([record.started_ms, *(seen for seen in times if isinstance(seen, int))])
        idle_ms = time.time_ns() // 1_000_000 - last_ms
        self._handle(IdleSeen(idle_ms, int(record.idle_stop_s * 1000)))

    def _handle(self, event: Event) -> None:
        for action in self._core.handle(event, _monotonic_ms()):
            self._do(action)

    def _do(self, action: Action) -> None:
        from perfmon.pipeline.errors import ControlError

        supervisor = _supervisor()
        try:
            if isinstance(action, AskStates):
                self._learn(supervisor)
            elif isinstance(action, Kill):
                log("warning", "restarting_hung_service", name=action.name, reason=action.reason)
                supervisor.kill(action.name)
            elif isinstance(action, Start):
                log("warning", "starting_service_again", name=action.name, reason=action.reason)
                supervisor.start(action.name)
            elif isinstance(action, StopPipeline):
                log("info", "stopping_idle_pipeline", reason=action.reason)
                supervisor.shutdown()
        except ControlError as error:
            log("warning", "supervisord_refused", reason=str(error))

    def _learn(self, supervisor: Supervisor) -> None:
        for process in supervisor.processes():
            self._handle(ProcessChanged(process.name, process.state))


def main() -> int:
    """Listen until supervisord closes our input; the exit code."""
    data = resolve_data_directory()
    log("info", "watching", data=str(data.root))
    return listen(Shell(data, _monotonic_ms()), sys.stdin.buffer, sys.stdout.buffer)


def listen(shell: Shell, stdin: BinaryIO, stdout: BinaryIO) -> int:
    """Take events one by one until the stream ends."""
    while (event := next_event(stdin, stdout)) is not None:
        shell.take(event)
        acknowledge(stdout)
    return 0


def log(level: str, event: str, **fields: object) -> None:
    """One line of the services' log format on stderr; stdout belongs to supervisord."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    words = [f"timestamp={now}", f"level={level}", "service=watchdog", f"event={event}", *_shown(fields.items())]
    sys.stderr.write(" ".join(words) + "\n")
    sys.stderr.flush()


def _shown(fields: Iterable[tuple[str, object]]) -> list[str]:
    return [f"{key}={value!r}" if " " in str(value) else f"{key}={value}" for key, value in fields]


def _supervisor() -> Supervisor:
    """A client of the supervisord that runs us, from what it put in our environment. Imported when needed: it costs 7 MB."""
    from perfmon.pipeline.control import Supervisor

    url = os.environ.get("SUPERVISOR_SERVER_URL", "")
    return Supervisor(
        Path(url.removeprefix("unix://")),
        username=os.environ.get("SUPERVISOR_USERNAME"),
        password=os.environ.get("SUPERVISOR_PASSWORD"),
    )


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
