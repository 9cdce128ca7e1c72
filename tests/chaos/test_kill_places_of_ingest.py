"""kill -9 of ingest at chosen places of its work: between any two steps nothing acknowledged is lost, doubled or torn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest

from tests.chaos.deadly import COMPILED_VARIABLE
from tests.chaos.ingest_story import IngestStory
from tests.chaos.numbered import many_series
from tests.chaos.places import APPENDING, INGEST, RECOVERY
from tests.chaos.stand_ins import StandIns

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

Tell = Callable[..., IngestStory]

#: Series that may have a file of their own, and of how many the load is, where there are more than that.
MAX_SERIES, SENT_SERIES = 5, 40
#: Metrics that a replay has to bring back.
TO_REPLAY = 40_000
DAY_MS = 86_400_000
#: No checkpoint but the one at the start, so that everything since is replayed.
NO_CHECKPOINTS = {"PERFMON_CHECKPOINT_INTERVAL_S": "300", "PERFMON_APPEND_INTERVAL_S": "0.05"}

#: Where it matters most, for the loads that differ from the usual one.
SOME = (
    "committed, not acknowledged",
    "in the middle of a write",
    "synced, no checkpoint",
    "in the middle of a dropped segment",
    "rotation, before its first transaction",
)


@pytest.mark.parametrize("name", INGEST)
def test_killed_at_a_place_under_load(name: str, tell: Tell) -> None:
    story = tell()
    die_and_come_back(story, [name])
    story.record(f"place/ingest: {name}", f"Killed {INGEST[name].does}.", story.finish())


def test_killed_at_places_while_a_thread_appends_compiled_lines(tell: Tell) -> None:
    story = tell(environment={COMPILED_VARIABLE: "yes", "PERFMON_APPEND_INTERVAL_S": "0.2"})
    with StandIns(story.data):
        story.die_at("APPENDING", APPENDING)
    story.start(killed_at=time.monotonic())
    story.load.wait_for(30_000)
    what = ", ".join(place.does for place in APPENDING.values())
    story.record("place/ingest: the compiled formatter", f"Killed {what}.", story.finish())


def test_killed_again_and_again_while_it_recovers(tell: Tell) -> None:
    story = tell(environment=NO_CHECKPOINTS)
    story.start()
    story.load.wait_for(TO_REPLAY)
    story.load.settle()
    story.kill()
    story.die_at("RECOVERY", RECOVERY)
    story.start()
    story.load.resume()
    story.load.wait_for(1_000)
    what = ", ".join(place.does for place in RECOVERY.values())
    story.record("place/ingest: its recovery", f"Killed in a row while it recovers: {what}.", story.finish())


def test_killed_at_places_while_series_go_to_overflow(tell: Tell) -> None:
    story = tell(environment={"PERFMON_MAX_SERIES": str(MAX_SERIES)}, series=many_series(SENT_SERIES))
    die_and_come_back(story, SOME)
    verdict = story.finish(may_overflow=True)
    files = sorted(str(path.relative_to(path.parents[1])) for path in story.data.metrics.rglob("*.jsonl"))
    if len(files) != MAX_SERIES + 1:
        verdict.complain(f"{MAX_SERIES} series and __overflow__ have files", *files)
    does = f"{SENT_SERIES} series are sent, {MAX_SERIES} have room, the others go to `__overflow__`; killed at some places."
    story.record("place/ingest: __overflow__", does, verdict)


def test_killed_at_places_with_two_days_in_every_batch(tell: Tell) -> None:
    story = tell(
        environment={"PERFMON_RAW_RETENTION_HOURS": "72"},
        moment=lambda number, now_ms: now_ms // DAY_MS * DAY_MS - number % 2,
    )
    die_and_come_back(story, SOME)
    verdict = story.finish()
    assert len(list(story.data.metrics.iterdir())) == 2
    does = "Every batch has the last millisecond of a day and the first of the next; killed at some places."
    story.record("place/ingest: two days in a batch", does, verdict)


def die_and_come_back(story: IngestStory, names: Iterable[str]) -> None:
    with StandIns(story.data):
        story.die_at("INGEST", names)
    story.start(killed_at=time.monotonic())
    story.load.wait_for(1_000)
