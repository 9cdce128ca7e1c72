"""kill -9 of ingest at random moments under load: acknowledged ⊆ stored, each once, no unparsable line."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from perfmon.paths import DataDirectory
from tests.kit import ServiceProcess, stored
from tests.kit.load import AcknowledgedLoad

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "20"))


@pytest.mark.parametrize("seed", [1, 2])
def test_ingest_killed_again_and_again_loses_and_doubles_nothing(
    seed: int, start: Callable[..., ServiceProcess], data_directory: DataDirectory
) -> None:
    rng = random.Random(seed)
    environment = {
        "PERFMON_CHECKPOINT_INTERVAL_S": rng.choice(["0.05", "0.3", "5"]),
        "PERFMON_SEGMENT_MB": "1",
        "PERFMON_APPEND_INTERVAL_S": rng.choice(["0.05", "1"]),
    }
    ingest = start("ingest", environment=environment)
    with AcknowledgedLoad(data_directory, seed=seed) as load:
        for _ in range(ROUNDS):
            load.run_for(rng.uniform(0.3, 1.0))
            ingest.kill()
            load.send_some()
            if rng.random() < 0.3:
                # and once more while it recovers
                half = start("ingest", ready=False, environment=environment)
                load.run_for(rng.uniform(0.0, 0.3))
                half.kill()
            ingest = start("ingest", environment=environment)
        load.drain()
    ingest.call("flush")
    load.check(stored(data_directory))
    assert len(load.acknowledged) > 100 * ROUNDS
    assert ingest.terminate() == 0
    load.check(stored(data_directory))
