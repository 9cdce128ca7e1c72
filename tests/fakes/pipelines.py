"""Pipelines of stand-in services for tests that need real processes: made, watched with bounded waits, always stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perfmon.paths import DataDirectory
from perfmon.pipeline.ask import ping_all
from perfmon.pipeline.report import Answer
from tests.fakes.application import CHECKOUT, build

#: No condition in these tests takes longer on a busy machine.
PATIENCE_S = 40.0

#: Runs code against the stand-in application in another process: `run(code)`.
_PRELUDE = """
import sys
sys.path.insert(0, {checkout!r})
from pathlib import Path
import perfmon.pipeline.spawn as spawning
spawning.application_root = lambda: Path({application!r})
from perfmon import pipeline
from perfmon.paths import DataDirectory
data = DataDirectory(Path({root!r}))
"""


class FakePipeline:
    """A data directory and an application tree of stand-ins; `behave` before it starts."""

    def __init__(self, folder: Path, **replaced: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.application = build(folder / "app", **replaced)
        self.data = DataDirectory((folder / "data").resolve())
        self.data.create()

    def behave(self, service: str, how: str) -> None:
        """`crash`, `never-ready`, `silent`, `version X`; empty for good behaviour."""
        (self.data.state / f"fake-{service}").write_text(how)

    def answers(self) -> dict[str, Answer]:
        """Who answers now."""
        return ping_all(self.data)

    def python(self, code: str, **environment: str) -> subprocess.Popen[str]:
        """Run code in another process, with `data` and `pipeline` at hand."""
        prelude = _PRELUDE.format(checkout=str(CHECKOUT), application=str(self.application), root=str(self.data.root))
        return subprocess.Popen(
            [sys.executable, "-c", prelude + code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def command(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Run `perfmon …` on this data directory in another process."""
        code = f"sys.argv = {['perfmon', *arguments, '--data-dir', str(self.data.root)]!r}\n"
        return self.python(code + "from perfmon.cli import main\nmain()\n", **environment)


def eventually(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """What the condition gives once it is true; fails the test when it never is."""
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}
