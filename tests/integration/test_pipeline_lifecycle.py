"""Start, find, share, upgrade and stop a pipeline: real supervisord, real watchdog, stand-in services."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import perfmon.pipeline.spawn as spawning
from perfmon import pipeline
from perfmon.paths import SERVICES, DataDirectory
from perfmon.pipeline import launch
from perfmon.pipeline.errors import ControlError, IncompatiblePipeline, LaunchFailed, NotReady
from perfmon.pipeline.locks import holder, is_held, supervisor_lock
from perfmon.pipeline.record import read_record
from perfmon.pipeline.spawn import supervisor_of
from tests.fakes.pipelines import FakePipeline, alive, eventually

pytestmark = pytest.mark.pipeline


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePipeline]:
    made = FakePipeline(tmp_path, startretries="1", startsecs="1")
    monkeypatch.setattr(spawning, "application_root", lambda: made.application)
    yield made
    pipeline.stop(made.data, 20)


def test_a_pipeline_starts_is_found_and_stops(fake: FakePipeline) -> None:
    started = pipeline.ensure_running(fake.data)
    assert started.state == "started"
    assert list(started.services) == list(SERVICES)
    assert started.pid == holder(supervisor_lock(fake.data))
    again = pipeline.ensure_running(fake.data)
    assert (again.state, again.pid) == ("running", started.pid)
    stopped = pipeline.stop(fake.data)
    assert (stopped.how, stopped.pid) == ("stopped", started.pid)
    assert not fake.answers()
    assert not pipeline.died(fake.data)
    assert pipeline.stop(fake.data).how == "not running"


def test_a_stop_leaves_nothing_below_tmp_and_a_start_makes_it_again(fake: FakePipeline) -> None:
    pipeline.ensure_running(fake.data)
    assert any(fake.data.runtime.iterdir())
    pipeline.stop(fake.data)
    assert not fake.data.runtime.exists()
    assert pipeline.ensure_running(fake.data).state == "started"
    assert any(fake.data.runtime.iterdir())


def test_ten_sessions_at_once_start_one_pipeline(fake: FakePipeline) -> None:
    code = "print(pipeline.ensure_running(data, started_by='gateway').pid)"
    sessions = [fake.python(code) for _ in range(10)]
    results = [session.communicate(timeout=60) for session in sessions]
    pids = {out.strip() for out, _ in results}
    assert pids == {str(holder(supervisor_lock(fake.data)))}, results


def test_the_pipeline_outlives_the_session_that_started_it_and_its_terminal(fake: FakePipeline) -> None:
    session = fake.python("print(pipeline.ensure_running(data).pid); sys.stdout.flush(); input()")
    assert session.stdout is not None
    pid = int(session.stdout.readline())
    assert os.getsid(pid) not in {os.getsid(0), pid, session.pid}
    opened = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    assert not opened & {str(Path(f"/proc/{session.pid}/fd/{number}").readlink()) for number in (1, 2)}
    session.kill()
    session.communicate()
    assert alive(pid)
    assert len(fake.answers()) == len(SERVICES)


def test_the_same_directory_through_a_link_and_with_another_environment_is_the_same_pipeline(
    fake: FakePipeline, tmp_path: Path
) -> None:
    first = pipeline.ensure_running(fake.data)
    link = tmp_path / "link"
    link.symlink_to(fake.data.root)
    code = (
        "from perfmon.paths import resolve_data_directory\n"
        f"report = pipeline.ensure_running(resolve_data_directory({str(link)!r}))\n"
        "print(report.state, report.pid)"
    )
    elsewhere = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "XDG_CACHE_HOME": ""}
    out, err = fake.python(code, **elsewhere).communicate(timeout=60)
    assert out.split() == ["running", str(first.pid)], err


def test_a_second_supervisord_on_the_same_directory_is_refused(fake: FakePipeline) -> None:
    import subprocess
    import sys

    first = pipeline.ensure_running(fake.data)
    second = subprocess.run(
        [
            sys.executable,
            "-m",
            "perfmon.pipeline.daemon",
            "--data",
            str(fake.data.root),
            "--config",
            str(spawning.config_path(fake.data)),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 75
    assert f"pid {first.pid}" in second.stderr
    assert pipeline.ensure_running(fake.data).pid == first.pid


def test_a_killed_supervisord_is_known_as_dead_and_started_again(fake: FakePipeline) -> None:
    first = pipeline.ensure_running(fake.data)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: pipeline.died(fake.data))
    second = pipeline.ensure_running(fake.data)
    assert second.state == "started"
    old = {answer.pid for answer in first.services.values()}
    assert not old & {answer.pid for answer in second.services.values()}


def test_a_service_that_cannot_start_is_named_with_its_last_lines(fake: FakePipeline) -> None:
    fake.behave("alerter", "crash")
    with pytest.raises(NotReady) as told:
        pipeline.ensure_running(fake.data)
    assert list(told.value.reasons) == ["alerter"]
    assert "alerter cannot go on" in told.value.logs["alerter"][-1]
    assert len(fake.answers()) == len(SERVICES) - 1


def test_a_service_that_never_gets_ready_is_named_when_the_time_is_over(fake: FakePipeline) -> None:
    fake.behave("detector", "never-ready")
    with pytest.raises(NotReady, match="detector: answers but was not ready within 6 s"):
        pipeline.ensure_running(fake.data, wait_ready_s=6)


def test_an_older_pipeline_is_restarted_by_a_newer_client(fake: FakePipeline) -> None:
    for service in SERVICES:
        fake.behave(service, "version 0.0.1")
    first = pipeline.ensure_running(fake.data, wait_ready_s=10)
    for service in SERVICES:
        fake.behave(service, "")
    second = pipeline.ensure_running(fake.data)
    assert second.state == "restarted"
    assert second.pid != first.pid
    assert {answer.version for answer in second.services.values()} == {pipeline_version()}


def pipeline_version() -> str:
    from perfmon import __version__

    return __version__


def test_a_newer_pipeline_is_used_and_said_to_be_newer(fake: FakePipeline) -> None:
    for service in SERVICES:
        fake.behave(service, "version 99.0")
    first = pipeline.ensure_running(fake.data)
    second = pipeline.ensure_running(fake.data)
    assert (second.state, second.pid) == ("running", first.pid)
    assert "99.0" in second.notes[0]


def test_a_pipeline_of_another_protocol_is_refused(fake: FakePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    for service in SERVICES:
        fake.behave(service, "version 99.0")
    pipeline.ensure_running(fake.data)
    monkeypatch.setattr(launch, "PROTOCOL_MAJOR", 0)
    with pytest.raises(IncompatiblePipeline, match="protocol 1"):
        pipeline.ensure_running(fake.data)


def test_files_and_sockets_are_for_their_owner_alone(fake: FakePipeline) -> None:
    before = os.umask(0)
    try:
        pipeline.ensure_running(fake.data)
    finally:
        os.umask(before)
    for folder in (fake.data.root, fake.data.runtime):
        for path in folder.rglob("*"):
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert not mode & 0o077, f"{path} {mode:o}"


def test_supervisord_wants_its_password(fake: FakePipeline) -> None:
    from perfmon.pipeline.control import Supervisor

    pipeline.ensure_running(fake.data)
    with pytest.raises(ControlError, match="401"):
        Supervisor(fake.data.runtime / "supervisor.sock", username="perfmon", password="wrong").pid()
    supervisor = supervisor_of(fake.data)
    assert supervisor is not None
    assert supervisor.pid() == holder(supervisor_lock(fake.data))


def test_a_log_that_is_a_link_in_a_cloned_directory_is_not_written_through(fake: FakePipeline, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("ingest.log", "supervisord.log", "launch.log"):
        (fake.data.logs / name).symlink_to(victim)
    pipeline.ensure_running(fake.data)
    assert victim.read_text() == "precious"


def test_a_configuration_and_a_record_that_came_with_a_clone_run_nothing(fake: FakePipeline, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    spawning.config_path(fake.data).write_text(
        f"[supervisord]\nnodaemon=true\n[program:ingest]\ncommand=touch {planted}\n"
    )
    (fake.data.state / "pipeline.json").write_text(json.dumps({"version": "99", "password": "x"}))
    pipeline.ensure_running(fake.data)
    assert not planted.exists()


def test_a_supervisord_that_cannot_start_says_why(fake: FakePipeline) -> None:
    (fake.application / "supervisord.conf").write_text(
        (fake.application / "supervisord.conf")
        .read_text()
        .replace("minfds", "")
        .replace("umask = 077", "umask = rubbish")
    )
    with pytest.raises(LaunchFailed) as told:
        pipeline.ensure_running(fake.data)
    assert any("umask" in line or "octal" in line for line in told.value.log)
    assert read_record(fake.data) is None


def test_a_hostile_environment_changes_nothing_for_the_services(fake: FakePipeline, tmp_path: Path) -> None:
    decoy = tmp_path / "decoy"
    for name in ("services", "shared", "supervisor", "zmq"):
        (decoy / name).mkdir(parents=True)
        (decoy / name / "__init__.py").write_text("raise SystemExit('decoy')")
    hostile = {"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "error", "PYTHONSTARTUP": str(decoy / "x.py")}
    code = (
        "import os\n"
        f"os.environ['PYTHONPATH'] = {str(decoy)!r}\n"
        f"os.chdir({str(decoy)!r})\n"
        "print(pipeline.ensure_running(data).services['ingest'].fields['pythonpath'])"
    )
    out, err = fake.python(code, **hostile).communicate(timeout=60)
    assert out.strip() == str(fake.application), err


def test_a_person_who_asks_for_it_keeps_a_pipeline_that_a_gateway_started(fake: FakePipeline) -> None:
    pipeline.ensure_running(fake.data, started_by="gateway")
    record = read_record(fake.data)
    assert record is not None
    assert record.idle_stop_s == 24 * 3600
    pipeline.ensure_running(fake.data, started_by="gateway")
    assert read_record(fake.data) == record
    pipeline.ensure_running(fake.data, started_by="up")
    kept = read_record(fake.data)
    assert kept is not None
    assert kept.idle_stop_s is None


def test_status_shows_every_process_with_its_figures(fake: FakePipeline) -> None:
    rows = {row.service: row for row in pipeline.status(fake.data)}
    assert not any(row.ready for row in rows.values())
    pipeline.ensure_running(fake.data)
    rows = {row.service: row for row in pipeline.status(fake.data)}
    assert list(rows) == [*SERVICES, "supervisord", "watchdog"]
    assert rows["detector"].lag == 2
    assert rows["ingest"].lag is None
    assert rows["ingest"].drops == 2
    assert rows["alerter"].parked == 1
    for row in rows.values():
        assert row.ready
        assert row.pss_mb is not None
        assert row.pss_mb > 1
        assert row.uptime_s is not None


def test_a_supervisord_that_hangs_is_killed_with_its_services(fake: FakePipeline) -> None:
    report = pipeline.ensure_running(fake.data)
    assert report.pid is not None
    os.kill(report.pid, signal.SIGSTOP)
    stopped = pipeline.stop(fake.data, timeout_s=1)
    assert stopped.how == "killed"
    assert not is_held(supervisor_lock(fake.data))
    for answer in report.services.values():
        eventually(lambda pid=answer.pid: not alive(pid))


def test_a_stop_during_a_start_waits_for_it(fake: FakePipeline) -> None:
    results: list[str] = []
    starter = threading.Thread(target=lambda: results.append(pipeline.ensure_running(fake.data, wait_ready_s=0).state))
    starter.start()
    eventually(lambda: is_held(supervisor_lock(fake.data)))
    assert pipeline.stop(fake.data).how == "stopped"
    starter.join()
    assert results == ["started"]


def test_a_data_directory_that_is_not_ours_alone_is_refused(fake: FakePipeline, tmp_path: Path) -> None:
    from perfmon.paths import UnsafeDirectory

    other = tmp_path / "other"
    (other / "state").mkdir(parents=True)
    (other / "state" / "locks").symlink_to(tmp_path)
    with pytest.raises(UnsafeDirectory, match="symbolic link"):
        pipeline.ensure_running(DataDirectory(other.resolve()))


def test_a_pipeline_whose_sockets_were_swept_away_is_replaced(fake: FakePipeline) -> None:
    first = pipeline.ensure_running(fake.data)
    for socket in fake.data.runtime.iterdir():
        socket.unlink()
    second = pipeline.ensure_running(fake.data)
    assert second.state == "restarted"
    assert second.pid != first.pid
