"""The settings that a pipeline would start with, asked of the services' own code before anything is started.

A child process of the application's interpreter reads them (0.3 s), since this package does not import the services'. An
application without that module, such as an older one, is not asked.
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from perfmon.keys import BadKeys, key_ring
from perfmon.pipeline.errors import BadSettings

#: How long reading them may take on a loaded machine.
TIMEOUT_S: Final = 20.0
#: The module that shows them, and its exit code when one cannot be taken.
MODULE: Final = "shared.show_settings"
EXIT_CONFIGURATION: Final = 78
#: How its lines on variables that mean nothing begin.
PREFIX: Final = "PERFMON_"

_log = logging.getLogger("perfmon.pipeline")


class Wanted(NamedTuple):
    """All settings by name, and those that somebody set: the others are defaults."""

    values: dict[str, Any]
    given: list[str]


def wanted_settings(interpreter: str, application: Path, environment: Mapping[str, str]) -> Wanted | None:
    """None when they cannot be known here.

    Raises: BadSettings.
    """
    if not (application / f"{MODULE.replace('.', '/')}.py").is_file():
        return None
    try:
        done = subprocess.run(
            [interpreter, "-m", MODULE],
            cwd=application,
            env=dict(environment),
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode == EXIT_CONFIGURATION:
            raise BadSettings(done.stderr.decode(errors="replace").splitlines())
        for line in done.stderr.decode(errors="replace").splitlines():
            if line.startswith(PREFIX):
                _log.warning("%s", line)
        wanted = Wanted(**json.loads(done.stdout))
    except (subprocess.TimeoutExpired, OSError, ValueError, TypeError):
        return None  # the services will say what is wrong with it
    _check_keys(wanted.values.get("ingest_tcp"))
    return wanted


def differences(wanted: Wanted, runs_with: Mapping[str, Any]) -> list[str]:
    """The given settings that are not those that a pipeline runs with, each with both figures."""
    return [
        f"{name} {wanted.values[name]} (runs with {runs_with[name]})"
        for name in wanted.given
        if name in runs_with and wanted.values[name] != runs_with[name]
    ]


def _check_keys(endpoint: Any) -> None:
    if endpoint in (None, "off"):
        return
    try:
        key_ring().server()
    except (BadKeys, OSError) as error:
        raise BadSettings([f"setting ingest_tcp is {endpoint}, which needs keys; {error}"]) from error
