"""kill -9 of ingest alone at random moments under load, again and again: a kill costs a second, so there are many."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from perfmon.paths import DataDirectory
from tests.chaos.acknowledged_load import Load
from tests.chaos.checker import check_files, check_index
from tests.chaos.reliability import record
from tests.chaos.rounds import rounds
from tests.kit import ServiceProcess

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(1200)]

KILLS = rounds(100)
#: Everything is compared after so many kills, and at the end.
CHECK_EVERY = 10
RATE = 8_000


@pytest.mark.parametrize("seed", [1, 2])
def test_ingest_killed_again_and_again_loses_and_doubles_nothing(
    seed: int, start: Callable[..., ServiceProcess], data_directory: DataDirectory
) -> None:
    rng = random.Random(seed)
    environment = {
        "PERFMON_CHECKPOINT_INTERVAL_S": ["0.05", "0.5"][seed % 2],
        "PERFMON_SEGMENT_MB": "1",
        "PERFMON_APPEND_INTERVAL_S": ["0.05", "0.5"][seed % 2],
    }
    ingest = start("ingest", environment=environment)
    load = Load(data_directory, RATE, seed=seed).start()
    kills, worst_back_s = 0, 0.0
    try:
        while kills < KILLS:
            load.wait_for(rng.randint(1, RATE // 2))
            ingest.kill()
            kills += 1
            if rng.random() < 0.3:
                # and once more while it starts and recovers
                ingest = start("ingest", ready=False, environment=environment)
                time.sleep(rng.uniform(0.0, 0.8))  # the moment of the kill; nothing is awaited
                ingest.kill()
                kills += 1
            killed_at = time.monotonic()
            ingest = start("ingest", environment=environment)
            worst_back_s = max(worst_back_s, time.monotonic() - killed_at)
            if kills // CHECK_EVERY != (kills - 1) // CHECK_EVERY:
                load.settle()
                ingest.call("flush")
                check_files(data_directory, load).assert_clean()
                load.resume()
        load.settle()
        assert ingest.terminate() == 0
    finally:
        load.end()
    verdict = check_files(data_directory, load)
    check_index(data_directory, verdict)
    record(
        f"kill/ingest alone, checkpoints every {environment['PERFMON_CHECKPOINT_INTERVAL_S']} s",
        does="Ingest is killed under load, a third of the times once more while it recovers.",
        kills=kills,
        worst_back_s=worst_back_s,
        **verdict.figures(),
    )
    verdict.assert_clean()
