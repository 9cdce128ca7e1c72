"""The watchdog under a real supervisord: hung, given up, idle. Its clocks are shortened, its rules are not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import perfmon.pipeline.spawn as spawning
from perfmon import pipeline
from perfmon.paths import SERVICES
from perfmon.pipeline.locks import is_held, supervisor_lock
from perfmon.pipeline.processes import usage_of
from perfmon.pipeline.record import IDLE_STOP_S, Record, read_record, write_record
from tests.fakes.pipelines import FakePipeline, alive, eventually

pytestmark = pytest.mark.pipeline


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePipeline]:
    made = FakePipeline(tmp_path, startretries="1", startsecs="1")
    monkeypatch.setattr(spawning, "application_root", lambda: made.application)
    yield made
    pipeline.stop(made.data, 20)


def shorten(fake: FakePipeline, module: str, **constants: str) -> None:
    """Change constants of the watchdog's copy in the stand-in application."""
    path = fake.application / "services" / "watchdog" / module
    lines = path.read_text().splitlines()
    for name, value in constants.items():
        index = next(number for number, line in enumerate(lines) if line.startswith(f"{name}: Final"))
        lines[index] = f"{name}: Final = {value}"
    path.write_text("\n".join(lines) + "\n")


def watchdog_pid(fake: FakePipeline) -> int | None:
    """Its pid while it runs."""
    return next((row.pid for row in pipeline.status(fake.data) if row.service == "watchdog"), None)


def test_a_stopped_process_is_replaced_and_the_others_are_left_alone(fake: FakePipeline) -> None:
    shorten(fake, "core.py", MISSES_TO_KILL="1", START_GRACE_MS="0")
    before = pipeline.ensure_running(fake.data).services
    os.kill(before["aggregator"].pid, signal.SIGSTOP)
    eventually(lambda: not alive(before["aggregator"].pid))
    after = eventually(lambda: (found := fake.answers()).keys() == set(SERVICES) and found)
    changed = {name for name in SERVICES if after[name].pid != before[name].pid}
    assert changed == {"aggregator"}
    log = (fake.data.logs / "watchdog.log").read_text()
    assert "event=restarting_hung_service name=aggregator reason='runs but left 1 pings unanswered'" in log


def test_a_service_that_answers_but_is_never_ready_is_left_alone(fake: FakePipeline) -> None:
    shorten(fake, "core.py", MISSES_TO_KILL="1", START_GRACE_MS="0")
    fake.behave("detector", "never-ready")
    fake.behave("alerter", "silent")
    pipeline.ensure_running(fake.data, wait_ready_s=0)
    detector = eventually(lambda: fake.answers().get("detector")).pid
    eventually(lambda: "name=alerter" in (fake.data.logs / "watchdog.log").read_text())
    assert fake.answers()["detector"].pid == detector


def test_what_supervisord_gave_up_comes_back_once_it_can(fake: FakePipeline) -> None:
    shorten(fake, "core.py", FIRST_PAUSE_MS="100")
    fake.behave("reporter", "crash")
    with pytest.raises(pipeline.NotReady):
        pipeline.ensure_running(fake.data)
    fake.behave("reporter", "")
    eventually(lambda: "reporter" in fake.answers())
    assert "event=starting_service_again name=reporter" in (fake.data.logs / "watchdog.log").read_text()


def test_a_killed_watchdog_comes_back_and_still_sees_what_hangs(fake: FakePipeline) -> None:
    shorten(fake, "core.py", MISSES_TO_KILL="1", START_GRACE_MS="0")
    before = pipeline.ensure_running(fake.data).services
    watchdog = watchdog_pid(fake)
    assert watchdog is not None
    os.kill(watchdog, signal.SIGKILL)
    eventually(lambda: watchdog_pid(fake) not in {None, watchdog})
    os.kill(before["reporter"].pid, signal.SIGSTOP)
    eventually(lambda: not alive(before["reporter"].pid))


def test_a_pipeline_of_a_gateway_stops_itself_when_nobody_needs_it(fake: FakePipeline) -> None:
    shorten(fake, "shell.py", ROUNDS_PER_IDLE_CHECK="1")
    pipeline.ensure_running(fake.data, started_by="gateway")
    record = read_record(fake.data)
    assert record is not None
    assert record.idle_stop_s == IDLE_STOP_S
    write_record(fake.data, Record(record.version, "gateway", record.started_ms, record.password, 1.0))
    eventually(lambda: not is_held(supervisor_lock(fake.data)))
    assert not pipeline.died(fake.data)
    assert "event=stopping_idle_pipeline" in (fake.data.logs / "watchdog.log").read_text()


def test_the_watchdog_is_small(fake: FakePipeline) -> None:
    pipeline.ensure_running(fake.data)
    pid = watchdog_pid(fake)
    assert pid is not None
    assert usage_of([pid], 0)[pid].pss_mb < 20
