"""Twenty restarts a minute under load: nothing is lost or doubled, and everything comes back by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from perfmon.paths import SERVICES, DataDirectory
from perfmon.pipeline import stop
from perfmon.pipeline.ask import ping_all
from perfmon.pipeline.spawn import config_path, supervisor_of
from tests.chaos.acknowledged_load import Load
from tests.chaos.checker import check_files, check_index
from tests.chaos.pipeline_checker import check_pipeline
from tests.chaos.reliability import record
from tests.chaos.rounds import rounds
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

#: Twenty a minute.
RESTART_EVERY_S = 3.0
RESTARTS = rounds(20)
#: How long everything may take to be back after the last one: supervisord waits longer each time that a start did not last.
BACK_LIMIT_S = 120.0


def by_signal(data: DataDirectory) -> None:
    """SIGTERM to every service at once; supervisord starts them again."""
    supervisor = supervisor_of(data)
    assert supervisor is not None
    for process in supervisor.processes():
        if process.pid and process.name in SERVICES:
            try:
                os.kill(process.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass  # it has just ended by itself


def by_supervisorctl(data: DataDirectory, service: str) -> None:
    """What an operator types; it returns once supervisord calls the service RUNNING, after two seconds."""
    command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(config_path(data)), "restart", service]
    subprocess.run(command, check=False, capture_output=True, timeout=60)


def test_everything_is_told_to_stop_twenty_times_a_minute(running_pipeline: DataDirectory, pipeline_load: Load) -> None:
    play(
        running_pipeline,
        pipeline_load,
        lambda _: by_signal(running_pipeline),
        "SIGTERM to everything, 20 times a minute",
    )


def test_services_are_restarted_by_supervisorctl_in_turn(running_pipeline: DataDirectory, pipeline_load: Load) -> None:
    def restart(number: int) -> None:
        by_supervisorctl(running_pipeline, SERVICES[number % len(SERVICES)])

    play(running_pipeline, pipeline_load, restart, "supervisorctl restart of one service after the other")


def play(data: DataDirectory, load: Load, restart: Callable[[int], None], what: str) -> None:
    """Restart twenty times a minute, wait until everything is back, and compare."""
    began_at = time.monotonic()
    for number in range(RESTARTS):
        time.sleep(max(0.0, began_at + number * RESTART_EVERY_S - time.monotonic()))  # the rate is the subject
        restart(number)
    asked_at = time.monotonic()
    note = f"{RESTARTS} restarts in {asked_at - began_at:.0f} s; everything was ready"
    eventually(lambda: all_ready(data), "every service is back", timeout_s=BACK_LIMIT_S)
    note += f" {time.monotonic() - asked_at:.1f} s after the last."
    load.settle()
    verdict = check_pipeline(data, load)
    stop(data, timeout_s=60)
    check_index(data, verdict)
    verdict.complaints += check_files(data, load).complaints
    record(f"restart/{what}", does=note, runs=RESTARTS, **verdict.figures())
    verdict.assert_clean()


def all_ready(data: DataDirectory) -> bool:
    answers = ping_all(data)
    return len(answers) == len(SERVICES) and all(answer.ready for answer in answers.values())
