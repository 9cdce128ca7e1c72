"""`supervisord -c supervisord.conf` by itself: the file of the checkout, no perfmon command involved."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perfmon import pipeline
from perfmon.paths import SERVICES
from perfmon.pipeline.errors import NotReady
from perfmon.pipeline.locks import is_held, supervisor_lock
from tests.fakes.application import build
from tests.fakes.pipelines import FakePipeline, eventually

pytestmark = pytest.mark.pipeline

Ctl = Callable[..., subprocess.CompletedProcess[str]]


def run_in(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this virtual environment in a folder, as with the environment active."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("PERFMON_DATA_DIR", None)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def fake(tmp_path: Path) -> FakePipeline:
    made = FakePipeline(tmp_path)
    # The workspace's own data directory is found from the checkout's folder, without any variable.
    (made.application / ".performance-data").mkdir(mode=0o700)
    made.data = type(made.data)((made.application / ".performance-data").resolve())
    return made


@pytest.fixture
def ctl(fake: FakePipeline) -> Iterator[Ctl]:
    started = run_in(fake.application, "supervisord", "-c", "supervisord.conf")
    assert started.returncode == 0, started.stderr

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_in(fake.application, "supervisorctl", "-c", "supervisord.conf", *arguments)

    yield call
    call("shutdown")
    eventually(lambda: not fake.answers())


def test_status_restart_and_tail_work(fake: FakePipeline, ctl: Ctl) -> None:
    before = eventually(lambda: (found := fake.answers()).keys() == set(SERVICES) and found)
    status = eventually(lambda: (found := ctl("status")).stdout.count("RUNNING") == 7 and found)
    assert [line.split()[:2] for line in status.stdout.splitlines()] == [
        [name, "RUNNING"] for name in sorted([*SERVICES, "watchdog"])
    ]
    assert ctl("restart", "aggregator").stdout.split() == ["aggregator:", "stopped", "aggregator:", "started"]
    after = eventually(lambda: (found := fake.answers()).get("aggregator") and found)
    assert after["aggregator"].pid != before["aggregator"].pid
    assert ctl("tail", "ingest").returncode == 0
    assert "event=watching" in ctl("tail", "watchdog", "stderr").stdout


def test_it_is_found_used_shown_and_stopped_by_the_commands(fake: FakePipeline, ctl: Ctl) -> None:
    del ctl
    eventually(lambda: len(fake.answers()) == len(SERVICES))
    report = pipeline.ensure_running(fake.data)
    assert (report.state, report.pid) == ("running", None)
    assert "started by hand" in report.notes[0]
    rows = pipeline.status(fake.data)
    assert all(row.ready for row in rows)
    assert [row.service for row in rows] == [*SERVICES, "supervisord", "watchdog"]
    assert rows[-1].pss_mb is not None
    assert pipeline.stop(fake.data, 30).how == "stopped"
    assert not fake.answers()


def test_it_is_recognised_also_while_a_service_of_it_is_missing(fake: FakePipeline, ctl: Ctl) -> None:
    eventually(lambda: len(fake.answers()) == len(SERVICES))
    ctl("stop", "aggregator")
    with pytest.raises(NotReady, match="aggregator"):
        pipeline.ensure_running(fake.data, wait_ready_s=1)
    assert not is_held(supervisor_lock(fake.data))
    assert set(fake.answers()) == set(SERVICES) - {"aggregator"}
    told = fake.command("run")
    assert "a pipeline already runs" in told.communicate(timeout=40)[1]


def test_what_it_writes_is_for_its_owner_and_git_sees_none_of_it(fake: FakePipeline, ctl: Ctl) -> None:
    del ctl
    eventually(lambda: len(fake.answers()) == len(SERVICES))
    (fake.application / ".gitignore").write_text((Path(__file__).parents[2] / ".gitignore").read_text())
    assert run_in(fake.application, "git", "init", "-q").returncode == 0
    seen = run_in(fake.application, "git", "status", "--porcelain", "-uall").stdout.split("\n")
    assert not [line for line in seen if "supervisord." in line and "supervisord.conf" not in line]
    assert not [line for line in seen if "supervisor.sock" in line or ".performance-data" in line]
    for name in ("supervisor.sock", "supervisord.ingest.log", "supervisord.watchdog.log"):
        assert (fake.application / name).stat().st_mode & 0o077 == 0, name


def test_a_checkout_too_deep_for_a_socket_fails_clearly(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    application = build(deep / "app")
    failed = run_in(application, "supervisord", "-c", "supervisord.conf")
    assert failed.returncode != 0
    assert "AF_UNIX path too long" in failed.stderr
