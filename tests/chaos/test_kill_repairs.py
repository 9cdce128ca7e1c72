"""kill -9 of ingest while it repairs a damage: files that got shorter, a journal that lost its end."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from shared.journal.witness import Witness
from tests.chaos.ingest_story import IngestStory
from tests.chaos.places import GIVEN_UP, REFILL, Place

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

Tell = Callable[..., IngestStory]

#: Metrics before the damage.
SOME = 12_000
#: Metrics that make more than three segments of a MB.
THREE_SEGMENTS = 70_000
#: What waits for the files when ingest is killed is in the journal alone.
NEVER_APPENDED = {
    "PERFMON_APPEND_INTERVAL_S": "60",
    "PERFMON_APPEND_ROWS": "1000000",
    "PERFMON_CHECKPOINT_INTERVAL_S": "300",
    "PERFMON_SEGMENT_MB": "1",
}


def test_killed_while_files_that_got_shorter_are_refilled(tell: Tell) -> None:
    story = tell(environment={"PERFMON_CHECKPOINT_INTERVAL_S": "0.2"})
    story.start()
    for name in REFILL:
        story.load.wait_for(SOME)
        story.load.settle()
        story.ingest.call("flush")
        story.ingest.eventually(lambda stats: stats["checkpointSeq"] == stats["head"], "there is a checkpoint")
        story.kill()
        for path in story.data.metrics.rglob("*.jsonl"):
            os.truncate(path, path.stat().st_size // 3 + 5)
        story.die_at("REFILL", [name])
        story.start()
        story.check().assert_clean()
    verdict = story.finish()
    story.record(
        "place/ingest: refilling files", f"All metric files are cut to a third; killed {which(REFILL)}.", verdict
    )


def test_killed_while_a_journal_is_given_up(tell: Tell) -> None:
    story = tell(environment=NEVER_APPENDED)
    story.start()
    story.load.wait_for(THREE_SEGMENTS)
    story.load.settle()
    epoch = story.ingest.stats()["epoch"]
    assert len(list(story.data.journal.glob("segment-*.db"))) > 3
    story.kill()
    witness = Witness(story.data.journal)
    assert witness.epoch == epoch
    witness.note(epoch, witness.head + 1)  # the journal seems to lack an entry that was committed
    witness.close()
    story.die_at("GIVEN_UP", GIVEN_UP)
    story.start()
    assert story.ingest.stats()["epoch"] != epoch
    story.load.resume()
    story.load.wait_for(SOME)
    does = f"The journal lacks its end and is given up, and the files hold nothing of it yet; killed {which(GIVEN_UP)}."
    story.record("place/ingest: giving up a journal", does, story.finish())


@pytest.mark.parametrize("name", GIVEN_UP)
def test_killed_with_messages_unanswered_while_a_journal_is_given_up(name: str, tell: Tell) -> None:
    """What was committed and not acknowledged is sent again to the new journal, which must know that it is stored."""
    story = tell()
    story.die_at("INGEST", ["committed, not acknowledged"])
    witness = Witness(story.data.journal)
    witness.note(witness.epoch, witness.head + 1)
    witness.close()
    story.died(story.spawn("GIVEN_UP", name, 1, {}), name)
    story.start()
    story.load.wait_for(1_000)
    does = f"A journal is given up right after a commit that was not acknowledged; killed {GIVEN_UP[name].does}."
    story.record(f"place/ingest: giving up a journal, {name}", does, story.finish())


def which(table: dict[str, Place]) -> str:
    return ", ".join(place.does for place in table.values())
