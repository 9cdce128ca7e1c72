"""kill -9 of ingest and of every consumer while the clock passes midnight: the days' files, rollups and windows are whole."""

from __future__ import annotations

import random
import time

import pytest

from perfmon.paths import CONSUMERS, DataDirectory
from tests.chaos.acknowledged_load import Load
from tests.chaos.checker import check_files, check_index
from tests.chaos.ingest_story import Start
from tests.chaos.pipeline_checker import check_pipeline
from tests.chaos.reliability import record
from tests.chaos.rounds import rounds
from tests.chaos.small_pipeline import SmallPipeline

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

DAY_MS = 86_400_000
RATE = 4_000
#: Kills on each side of midnight.
KILLS = rounds(15)
#: How long the pipeline has to start before midnight; if that is too short, nothing but the first metrics is of the day before.
BEFORE_MS = 15_000
ENVIRONMENT = {"PERFMON_CHECKPOINT_INTERVAL_S": "0.3", "PERFMON_SEGMENT_MB": "1"}


def test_killed_while_the_clock_passes_midnight(start: Start, data_directory: DataDirectory) -> None:
    rng = random.Random(12)
    shift_ms = DAY_MS - (time.time_ns() // 1_000_000 + BEFORE_MS + KILLS * 1_000) % DAY_MS
    pipeline = SmallPipeline(start, ENVIRONMENT, shift_ms=shift_ms)
    first_day, kills = (time.time_ns() // 1_000_000 + shift_ms) // DAY_MS, [0, 0]
    load = Load(data_directory, RATE, moment=lambda _, now_ms: now_ms + shift_ms).start()
    try:
        pipeline.start()
        while kills[1] < KILLS:
            time.sleep(rng.uniform(0.05, 0.5))  # the moment of the kill; nothing is awaited
            victim = rng.choice(("ingest", "ingest", *CONSUMERS))
            pipeline.kill(victim)
            kills[(time.time_ns() // 1_000_000 + shift_ms) // DAY_MS - first_day] += 1
            pipeline.start(victim)
        load.settle()
        verdict = check_pipeline(data_directory, load)
        pipeline.terminate()
    finally:
        load.end()
    verdict.complaints += check_files(data_directory, load).complaints
    check_index(data_directory, verdict)
    days = sorted(path.name for path in data_directory.metrics.iterdir())
    record(
        "kill/ingest and the consumers over midnight",
        does="The services' clock passes midnight while they are killed in random order.",
        kills=sum(kills),
        note=f"{kills[0]} kills before it and {kills[1]} after it.",
        **verdict.figures(),
    )
    verdict.assert_clean()
    assert len(days) == 2
