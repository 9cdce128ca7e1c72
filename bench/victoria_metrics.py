"""VictoriaMetrics, when its binary is on the PATH: a server of its own on loopback, with a temporary storage directory.

What it has answered with 204 is in memory: it writes to the disk every five seconds and syncs no log, by design. Its settings are
its own, except where the data are, how long they are kept, and that a query sees what was just written.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil

from bench.vm_bodies import SAMPLES

#: What the binary is called: in Debian's package, in the project's own archives.
BINARIES: Final = ("victoria-metrics", "victoria-metrics-prod")
#: What to do when it is not there.
HOW_TO_INSTALL: Final = "install it (Debian: apt-get install victoria-metrics) or leave --vs away"
#: What is promised for what was answered with 204.
DURABLE: Final = "in memory: on disk within about 5 s, without an fsync before it is acknowledged"
#: How long it may take to start, to stop, to count.
START_LIMIT_S: Final = 30.0
STOP_LIMIT_S: Final = 60.0
QUERY_LIMIT_S: Final = 120.0
#: How long until what was written can be queried.
VISIBLE_LIMIT_S: Final = 15.0


class Server:
    """A running VictoriaMetrics."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder
        self.usage = psutil.Process(process.pid)

    def held(self, expected: int) -> int:
        """Full metrics that a query counts, once it has seen as many as expected or time is up."""
        until = time.monotonic() + VISIBLE_LIMIT_S
        while True:
            found = self._count()
            if found >= expected or time.monotonic() > until:
                return found
            time.sleep(0.5)

    def size_bytes(self) -> int:
        """What is in its storage directory, after what is in memory was written."""
        self._get("/internal/force_flush")
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def _count(self) -> int:
        counts = f'sum(count_over_time({{__name__=~"call_.+"}}[1h])) / {len(SAMPLES)}'
        query = urlencode({"query": counts, "time": int(time.time()) + 5, "nocache": 1, "timeout": "100s"})
        body: dict[str, Any] = json.loads(self._get(f"/api/v1/query?{query}"))
        rows = body["data"]["result"]
        return int(float(rows[0]["value"][1])) if rows else 0

    def _get(self, path: str) -> str:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=QUERY_LIMIT_S) as answer:
            text: str = answer.read().decode()
            return text


def binary() -> str | None:
    """Where it is installed; None when it is not."""
    return next((found for name in BINARIES if (found := shutil.which(name))), None)


def version() -> str:
    """What it says it is: Debian's package doesn't, so the package is asked then."""
    program = binary()
    assert program is not None
    told = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=START_LIMIT_S, check=False)
    name = (told.stdout or told.stderr).strip()
    if any(character.isdigit() for character in name) or shutil.which("dpkg-query") is None:
        return name[:80]
    asked = ["dpkg-query", "--show", "victoria-metrics"]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=START_LIMIT_S, check=False)
    return " ".join(told.stdout.split())


@contextlib.contextmanager
def server(folder: Path | None = None) -> Iterator[Server]:
    """A server that answers; on a folder of its own that is removed at the end, or on one that stays."""
    own = Path(tempfile.mkdtemp(prefix="perfmon-bench-vm-")) if folder is None else folder
    program, port = binary(), _free_port()
    assert program is not None
    process = subprocess.Popen(
        [
            program,
            f"-storageDataPath={own}",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=1y",
            "-search.latencyOffset=0s",
            "-search.maxQueryDuration=100s",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_healthy(process, port)
        yield Server(process, port, own)
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if folder is None:
            shutil.rmtree(own, ignore_errors=True)


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(URLError, OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
