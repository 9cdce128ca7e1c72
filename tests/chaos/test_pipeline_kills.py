"""kill -9 of every process of a whole pipeline under load: nothing acknowledged is lost or doubled, wherever it is kept."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterator

import pytest

from perfmon.paths import SERVICES, DataDirectory
from perfmon.pipeline import ensure_running, stop
from perfmon.pipeline.ask import ping_all
from perfmon.pipeline.locks import holder, is_held, supervisor_lock
from perfmon.pipeline.spawn import supervisor_of
from tests.chaos.acknowledged_load import Load
from tests.chaos.checker import check_files, check_index
from tests.chaos.pipeline_checker import at_head, check_pipeline
from tests.chaos.reliability import record
from tests.chaos.rounds import rounds
from tests.kit.waiting import eventually

#: In each round every process is killed once.
ROUNDS = rounds(30)
#: Everything is compared after so many rounds, and at the end.
CHECK_EVERY = 10
#: supervisord is killed too in every so-manieth round, and in the last.
SUPERVISORD_EVERY = 5
#: How long a killed process may take until it answers again.
BACK_LIMIT_S = 60.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_kill_9_of_every_process_under_load_loses_and_doubles_nothing(
    running_pipeline: DataDirectory, pipeline_load: Load
) -> None:
    data, load = running_pipeline, pipeline_load
    rng = random.Random(7)
    back: dict[str, list[float]] = defaultdict(list)
    for number in range(1, ROUNDS + 1):
        for victims in _order(rng):
            time.sleep(rng.uniform(0.05, 0.5))  # the moment of the kill; nothing is awaited
            _kill(data, victims, back)
        if number % SUPERVISORD_EVERY == 0 or number == ROUNDS:
            _kill_supervisord(data, back)
        if number % CHECK_EVERY == 0 and number < ROUNDS:
            load.settle()
            at_head(data)
            check_pipeline(data, load).assert_clean()
            load.resume()
    load.settle()
    eventually(lambda: len(ping_all(data)) == len(SERVICES), "every service answers", timeout_s=BACK_LIMIT_S)
    verdict = check_pipeline(data, load)
    stop(data, timeout_s=60)
    check_index(data, verdict)
    verdict.complaints += check_files(data, load).complaints
    record(
        "kill/every process of a pipeline",
        does="The six services, the watchdog and supervisord are killed in random order, sometimes two at once.",
        kills=sum(map(len, back.values())),
        worst_back_s=max(max(times) for times in back.values()),
        note=f"Back: {', '.join(f'{name} {max(times):.1f} s ({len(times)} kills)' for name, times in back.items())}.",
        **verdict.figures(),
    )
    verdict.assert_clean()


def _order(rng: random.Random) -> Iterator[list[str]]:
    """Every process once, one or two at a time."""
    names = [*SERVICES, "watchdog"]
    rng.shuffle(names)
    while names:
        count = rng.choice((1, 1, 2))
        yield names[:count]
        del names[:count]


def _kill(data: DataDirectory, victims: list[str], back: dict[str, list[float]]) -> None:
    pids = {victim: eventually(lambda victim=victim: _pid(data, victim), f"{victim} runs") for victim in victims}
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    for victim, pid in pids.items():
        eventually(
            lambda victim=victim, pid=pid: _pid(data, victim) not in (None, pid),
            f"{victim} is back",
            timeout_s=BACK_LIMIT_S,
        )
        back[victim].append(time.monotonic() - killed_at)


def _kill_supervisord(data: DataDirectory, back: dict[str, list[float]]) -> None:
    pid = holder(supervisor_lock(data))
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    eventually(lambda: not is_held(supervisor_lock(data)), "supervisord is gone")
    ensure_running(data, started_by="test", wait_ready_s=BACK_LIMIT_S)
    back["supervisord, with all that it runs"].append(time.monotonic() - killed_at)


def _pid(data: DataDirectory, name: str) -> int | None:
    """The pid of a process that is ready; None while there is none."""
    if name == "watchdog":
        supervisor = supervisor_of(data)
        listed = supervisor.processes() if supervisor is not None else []
        return next((one.pid or None for one in listed if one.name == name), None)
    answer = ping_all(data, (name,), timeout_s=0.3).get(name)
    return answer.pid if answer is not None and answer.ready else None
