"""All that `perfmon doctor` looks at, in the order in which the answers explain each other."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator

from perfmon import __version__
from perfmon.paths import DataDirectory
from perfmon.pipeline import check_files as files
from perfmon.pipeline import check_processes as processes
from perfmon.pipeline.ask import ping_all
from perfmon.pipeline.check_damage import check_damage
from perfmon.pipeline.check_remote import check_remote
from perfmon.pipeline.report import Check


def examine(data: DataDirectory) -> Iterator[Check]:
    """The findings, one by one as they are made."""
    answers = ping_all(data)
    yield Check("python", "ok", f"{platform.python_version()} at {sys.executable}, perfmon {__version__}")
    yield files.check_directory(data)
    yield files.check_disk(data)
    yield files.check_runtime(data)
    yield processes.check_supervisord(data)
    yield processes.check_locks(data)
    yield processes.check_services(data, answers)
    yield processes.check_versions(answers)
    yield processes.check_http(data, answers)
    yield from check_remote(data)
    yield files.check_clock(data)
    yield files.check_journal(data)
    yield files.check_kernel_cache()
    yield files.check_lines(data)
    yield files.check_set_aside(data)
    yield from check_damage(data)
    yield from processes.check_counters(data, answers)
