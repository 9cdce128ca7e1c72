"""kill -9 of the aggregator in the middle of a clean-up: what is old goes, what is counted stays, nothing young is touched."""

from __future__ import annotations

import pytest

from perfmon.paths import DataDirectory
from tests.chaos.acknowledged_load import Load
from tests.chaos.checker import check_files, check_index
from tests.chaos.ingest_story import Start
from tests.chaos.numbered import iso_of
from tests.chaos.pipeline_checker import ask, at_head, check_hours, check_rollups
from tests.chaos.places import CLEANUP
from tests.chaos.reliability import record
from tests.chaos.small_pipeline import SmallPipeline
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: How much later the second half is.
LATER_MS = 3 * DAY_MS
RATE = 6_000
SOME = 5_000
ENVIRONMENT = {"PERFMON_MINUTE_RETENTION_HOURS": "2"}
BOTH = ("ingest", "aggregator")


def test_killed_in_a_cleanup(start: Start, data_directory: DataDirectory) -> None:
    shift_ms = -2 * HOUR_MS
    load = Load(data_directory, RATE, moment=lambda _, now_ms: now_ms + shift_ms).start()
    try:
        past = SmallPipeline(start, ENVIRONMENT)
        past.start(*BOTH)
        load.wait_for(SOME)
        load.settle()
        at_head(data_directory, ("aggregator",))
        # Minutes of an hour go only once its file is written.
        eventually(lambda: list(data_directory.hourly.glob("*.json")), "the hour is written", timeout_s=90)
        past.terminate()
        old = set(load.acknowledged)
        shift_ms = LATER_MS
        pipeline = SmallPipeline(start, ENVIRONMENT, shift_ms=LATER_MS)
        pipeline.start("ingest")
        load.resume()
        for name in CLEANUP:
            load.wait_for(SOME)
            # The first thing that it does on a new day.
            pipeline.die_at("CLEANUP", name, "aggregator", 1)
        pipeline.start("aggregator")
        done = ask(data_directory, "aggregator", "cleanup", timeout_s=30)
        assert done["unavailable"] == []
        load.settle()
        at_head(data_directory, ("aggregator",))
        verdict = check_files(data_directory, load, gone=old)
        check_rollups(data_directory, load, verdict, units=(None, "hour"))
        check_hours(data_directory, load, verdict)
        pipeline.terminate()
    finally:
        load.end()
    check_index(data_directory, verdict)
    days = {path.name for path in data_directory.metrics.iterdir()}
    assert not days & {iso_of(load.ts_of(number))[:10] for number in old}
    what = ", ".join(place.does for place in CLEANUP.values())
    does = f"The first metrics are three days old, and their days and minutes are to go; killed {what}."
    record("place/aggregator: a clean-up", does=does, kills=len(CLEANUP), **verdict.figures())
    verdict.assert_clean()
