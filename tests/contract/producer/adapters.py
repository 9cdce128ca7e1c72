"""Producers behind a command line: JSON commands a line in, JSON answers a line out, so that one set of tests runs against all.

Commands (`do`): `open` {endpoint, acknowledged, maxBuffered, probeS} → {producer}; `record` {rows}; `fill` {first, count, and
the fields of a row}: rows with durations that count up; `flush` {timeoutS} → {settled}; `stats` → the counters of `Counts`;
`close` {timeoutS} → the same. The end of stdin ends the process. Rows: server, tool, duration, success, and optionally error,
cpu, memory, diskIO, ts, callId.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
NODE_PACKAGES = ROOT / ".demo" / "node-producer" / "node_modules"

#: The longest that any condition here is waited for.
LIMIT_S = 30.0

Row = dict[str, Any]
Counts = dict[str, Any]


def call(tool: str = "read", server: str = "files", duration: float = 12.5, **more: Any) -> Row:
    """A good row."""
    return {"server": server, "tool": tool, "duration": duration, "success": True, **more}


class AdapterProcess:
    """One producer."""

    def __init__(self, command: list[str], log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
            )
        self._log = log

    def do(self, command: str, **parameters: Any) -> dict[str, Any]:
        """Give a command and take its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": command, **parameters}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the producer ended:\n{self._log.read_text()}"
        found: dict[str, Any] = json.loads(answer)
        return found

    def open(
        self, endpoint: str, *, acknowledged: bool = True, max_buffered: int = 200_000, probe_s: float = 5.0
    ) -> str:
        answer = self.do("open", endpoint=endpoint, acknowledged=acknowledged, maxBuffered=max_buffered, probeS=probe_s)
        return str(answer["producer"])

    def record(self, *rows: Row) -> None:
        self.do("record", rows=list(rows))

    def fill(self, first: int, count: int, **row: Any) -> None:
        """So many rows with durations from `first` on."""
        self.do("fill", first=first, count=count, **({"server": "files", "tool": "read", "success": True} | row))

    def flush(self, timeout_s: float = LIMIT_S) -> bool:
        return bool(self.do("flush", timeoutS=timeout_s)["settled"])

    def stats(self) -> Counts:
        return self.do("stats")

    def close(self, timeout_s: float = 5.0) -> Counts:
        return self.do("close", timeoutS=timeout_s)

    def end(self) -> None:
        """End of input; killed if it does not end by itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait(10)
            self._process.stdout.close()


@contextmanager
def adapter_process(language: str, folder: Path) -> Iterator[AdapterProcess]:
    """A producer in this language; skips where it can't run."""
    process = AdapterProcess(_command(language, folder), folder / f"{language}.log")
    try:
        yield process
    finally:
        process.end()


def _command(language: str, folder: Path) -> list[str]:
    if language == "python":
        return [sys.executable, "-W", "error", str(HERE / "python_adapter.py")]
    node = shutil.which("node")
    if node is None or not (NODE_PACKAGES / "zeromq").exists():
        pytest.skip("no Node with the producer's packages: `make test` installs them where there is npm")
    # The sources stand beside their packages here, as they would in an application of their own.
    here = folder / "node"
    here.mkdir(exist_ok=True)
    for source in (HERE / "node").glob("*.mjs"):
        shutil.copy(source, here)
    (here / "node_modules").symlink_to(NODE_PACKAGES.resolve())
    return [node, str(here / "adapter.mjs")]
