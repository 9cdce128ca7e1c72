"""`perfmon run` as a person sees it: its lines, its signals, its exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import perfmon.pipeline.spawn as spawning
from perfmon import pipeline
from perfmon.paths import SERVICES
from perfmon.pipeline.locks import holder, is_held, supervisor_lock
from tests.fakes.pipelines import FakePipeline, eventually

pytestmark = pytest.mark.pipeline


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePipeline]:
    made = FakePipeline(tmp_path, startretries="1", startsecs="1")
    monkeypatch.setattr(spawning, "application_root", lambda: made.application)
    yield made
    pipeline.stop(made.data, 20)


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """The lines up to and with the one that holds `text`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if text in line:
            return lines
    pytest.fail(f"{text!r} was never said: {lines}, {process.stderr.read() if process.stderr else ''}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_how_claude_code_is_told_and_stops_cleanly(
    fake: FakePipeline, number: signal.Signals
) -> None:
    run = fake.command("run", PYTHONUNBUFFERED="1")
    lines = read_until(run, "Ctrl-C stops it")
    said = "\n".join(lines)
    assert all(f"{service} is ready" in said for service in SERVICES)
    assert f"claude mcp add perfmon -e PERFMON_DATA_DIR={fake.data.root} -- " in said
    assert '"mcpServers"' in said
    assert f" connect claude-code --data {fake.data.root}" in said
    assert fake.data.endpoint("ingest.write") in said
    run.send_signal(number)
    rest, err = run.communicate(timeout=40)
    assert run.returncode == 0, err
    assert rest.rstrip().endswith("stopped")
    assert not fake.answers()
    assert not pipeline.died(fake.data)


def test_a_pipeline_that_runs_already_is_said_and_left_alone(fake: FakePipeline) -> None:
    first = pipeline.ensure_running(fake.data)
    run = fake.command("run")
    _, err = run.communicate(timeout=40)
    assert run.returncode == 1
    assert f"a pipeline already runs on {fake.data.root} (supervisord pid {first.pid})" in err
    for words in ("status", "down", "run --attach", "connect claude-code"):
        assert f" {words} --data {fake.data.root}" in err
    assert "claude mcp add perfmon " in err
    assert pipeline.ensure_running(fake.data).pid == first.pid


def test_attached_it_watches_and_leaves_the_pipeline_running(fake: FakePipeline) -> None:
    first = pipeline.ensure_running(fake.data)
    run = fake.command("run", "--attach", PYTHONUNBUFFERED="1")
    read_until(run, "Ctrl-C")
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=40)
    assert run.returncode == 0
    assert pipeline.ensure_running(fake.data).pid == first.pid


def test_a_killed_supervisord_and_a_killed_service_come_back_and_are_told(fake: FakePipeline) -> None:
    run = fake.command("run", PYTHONUNBUFFERED="1")
    read_until(run, "Ctrl-C")
    os.kill(fake.answers()["alerter"].pid, signal.SIGKILL)
    read_until(run, "alerter was restarted and is ready")
    first = holder(supervisor_lock(fake.data))
    assert first is not None
    os.kill(first, signal.SIGKILL)
    read_until(run, "supervisord died")
    read_until(run, "was restarted and is ready")
    eventually(lambda: holder(supervisor_lock(fake.data)) != first and len(fake.answers()) == len(SERVICES))
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=40)
    assert run.returncode == 0
    assert not fake.answers()


def test_the_pipeline_dies_with_a_killed_foreground(fake: FakePipeline) -> None:
    run = fake.command("run", PYTHONUNBUFFERED="1")
    read_until(run, "Ctrl-C")
    run.kill()
    run.communicate()
    eventually(lambda: not is_held(supervisor_lock(fake.data)))


def test_a_service_that_cannot_start_is_told_with_its_last_lines(fake: FakePipeline) -> None:
    fake.behave("reporter", "crash")
    run = fake.command("run", PYTHONUNBUFFERED="1")
    lines = read_until(run, "reporter: reporter cannot go on")
    assert any("reporter was given up by supervisord (FATAL)" in line for line in lines)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=40)
    assert run.returncode == 0


def test_a_pipeline_stopped_from_elsewhere_ends_the_foreground(fake: FakePipeline) -> None:
    run = fake.command("run", PYTHONUNBUFFERED="1")
    read_until(run, "Ctrl-C")
    assert pipeline.stop(fake.data).how == "stopped"
    out, _ = run.communicate(timeout=40)
    assert run.returncode == 0
    assert "stopped from elsewhere" in out
