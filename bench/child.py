"""A load generator's process as the benchmark sees it: orders out, answers in, and never left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from perfmon.paths import application_root

#: How long a generator whose orders ended may take to leave.
LEAVE_LIMIT_S: Final = 10.0


class GeneratorFailed(RuntimeError):
    """The generator ended, or what it sent was refused."""


class Child:
    """`python -m MODULE CONFIG`, ready when made."""

    def __init__(self, module: str, config: Mapping[str, Any]) -> None:
        # Our own tree comes first on the path, wherever the benchmark was started.
        environment = {**os.environ, "PYTHONPATH": str(application_root()), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(dict(config))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=application_root(),
            text=True,
        )
        self.pid = self._process.pid
        self._answer()

    def begin(self, do: str, **order: float) -> None:
        """Give an order; `end` waits for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """The answer to the last order.

        Raises: GeneratorFailed.
        """
        return self._answer()

    def do(self, what: str, **order: float) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Raises: GeneratorFailed.
        """
        self.begin(what, **order)
        return self.end()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise GeneratorFailed(f"the load generator ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "refused" in answer:
            raise GeneratorFailed(answer["refused"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(LEAVE_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
