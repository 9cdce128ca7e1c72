"""kill -9 of ingest while it forgets a day, under load: what was forgotten does not come back, nothing else goes."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from perfmon.rpc import RpcError
from tests.chaos.ingest_story import IngestStory
from tests.chaos.numbered import SERIES, iso_of
from tests.chaos.places import FORGET
from tests.chaos.rounds import rounds

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

Tell = Callable[..., IngestStory]

DAY_MS = 86_400_000
ENVIRONMENT = {"PERFMON_RAW_RETENTION_HOURS": "72", "PERFMON_CHECKPOINT_INTERVAL_S": "0.3", "PERFMON_SEGMENT_MB": "1"}
#: Metrics between two steps of the story.
SOME = 3_000


def of_two_days(number: int, now_ms: int) -> int:
    """Half of the metrics of every series are of yesterday."""
    return now_ms - number // len(SERIES) % 2 * DAY_MS


@pytest.mark.parametrize("name", FORGET)
def test_killed_while_a_day_is_forgotten(name: str, tell: Tell) -> None:
    story = tell(environment=ENVIRONMENT, moment=of_two_days)
    yesterday = iso_of(time.time_ns() // 1_000_000 - DAY_MS)[:10]
    gone: set[int] = set()
    place = FORGET[name]
    story.start()
    story.load.wait_for(SOME)
    for fatal in place.times[: rounds(len(place.times))]:
        assert story.ingest.terminate() == 0
        doomed = story.spawn("FORGET", name, fatal, {}).wait_ready()
        story.load.wait_for(SOME)
        with pytest.raises(RpcError):
            doomed.call("forget", {"day": yesterday}, timeout_s=0.5)  # who is dead does not answer
        story.died(doomed, name)
        # Nobody was told that it is forgotten: each of the day's metrics until now may be there or not.
        perhaps_gone = of_day(story, yesterday)
        story.start(killed_at=time.monotonic())
        story.load.wait_for(SOME)
        story.check(gone=gone, perhaps_gone=perhaps_gone).assert_clean()
        # Whoever was not answered asks again; what is acknowledged after the answer stays.
        story.load.settle()
        story.ingest.call("forget", {"day": yesterday}, timeout_s=10)
        gone = of_day(story, yesterday)
        story.load.resume()
        story.load.wait_for(SOME)
        story.check(gone=gone).assert_clean()
    verdict = story.finish(gone=gone)
    assert len(of_day(story, yesterday)) > len(gone)
    does = f"A day is to be forgotten; killed {place.does}, and asked again. Metrics of that day go on coming in."
    story.record(f"place/forget: {name}", does, verdict)


def test_killed_at_the_checkpoint_after_a_day_was_forgotten(tell: Tell) -> None:
    story = tell(environment=ENVIRONMENT, moment=of_two_days)
    yesterday = iso_of(time.time_ns() // 1_000_000 - DAY_MS)[:10]
    gone: set[int] = set()
    story.start()
    story.load.wait_for(SOME)
    for _ in range(rounds(4)):
        story.load.settle()
        story.ingest.call("forget", {"day": yesterday}, timeout_s=10)
        gone = of_day(story, yesterday)
        story.load.resume()
        story.kill()
        story.die_at("INGEST", ["synced, no checkpoint"])
        story.start(killed_at=time.monotonic())
        story.load.wait_for(SOME)
        story.check(gone=gone).assert_clean()
    does = "A day was forgotten; killed at once, and before the checkpoints after that. Metrics of that day go on coming in."
    story.record("place/forget: the checkpoints after it", does, story.finish(gone=gone))


def of_day(story: IngestStory, day: str) -> set[int]:
    """The metrics of a day that were sent until now."""
    load = story.load
    return {number for number in range(1, load.sent_total + 1) if iso_of(load.ts_of(number))[:10] == day}
