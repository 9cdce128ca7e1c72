"""A report of the running pipeline in a real browser: it is shown, and nothing that a monitored server sent runs in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfmon.paths import DataDirectory
from perfmon.pipeline import ensure_running, stop
from perfmon.rpc import RpcClient
from tests.kit import Writer, row

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.timeout(180),
    pytest.mark.skipif(BROWSER is None, reason="no browser on this machine"),
]

HOSTILE = [
    "<script>document.title='hacked'</script>",
    "<img src=x onerror=document.title='hacked'>",
    "\"><svg onload=document.title='hacked'>",
    "javascript:document.title='hacked'",
]


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDirectory]:
    directory = DataDirectory((tmp_path / "data").resolve())
    ensure_running(directory, started_by="test", wait_ready_s=90)
    yield directory
    stop(directory, timeout_s=60)


def test_a_report_is_shown_and_hostile_names_do_nothing(data: DataDirectory, tmp_path: Path) -> None:
    with Writer(data) as writer:
        for number, text in enumerate(HOSTILE):
            rows = [row(server=text, tool=text, duration=n + 1, success=n % 3 > 0, error=text) for n in range(30)]
            assert writer.write(*rows)["stored"] == 30, number
    now = time.time_ns() // 1_000_000
    with RpcClient(data.endpoint("reporter"), timeout_s=20) as reporter:
        answer = reporter.call("report", {"startMs": now - 3_600_000, "endMs": now + 1000, "format": "html"})
    page = answer["path"]
    shown = browse(tmp_path, "--dump-dom", f"file://{page}")
    assert "<title>hacked" not in shown
    assert "Performance report" in shown
    assert "&lt;script&gt;" in shown, "the name is there, as text"
    picture = tmp_path / "report.png"
    browse(tmp_path, f"--screenshot={picture}", "--window-size=1000,1600", f"file://{page}")
    assert picture.stat().st_size > 20_000, "the page is drawn, not blank"


def browse(home: Path, *arguments: str) -> str:
    assert BROWSER is not None
    quiet = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command = [BROWSER, "--headless", "--no-sandbox", "--no-first-run", *quiet, f"--user-data-dir={home / 'browser'}"]
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "HOME": str(home)},
    )
    return done.stdout
