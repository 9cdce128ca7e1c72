"""Fixtures for every test: a data directory of its own, and real services on it that never outlive the test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from perfmon.paths import DataDirectory
from tests.kit import ServiceProcess, Writer
from tests.kit.kernels import keep_kernels

keep_kernels()

# A busy machine is no finding: how long an example takes is never judged, neither drawn nor run.
settings.register_profile("perfmon", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("perfmon")


@pytest.fixture
def data_directory(tmp_path: Path) -> Iterator[DataDirectory]:
    """A created data directory below tmp_path; its sockets' folder goes with it."""
    data = DataDirectory((tmp_path / "data").resolve())
    data.create()
    yield data
    shutil.rmtree(data.runtime, ignore_errors=True)


@pytest.fixture
def start(data_directory: DataDirectory) -> Iterator[Callable[..., ServiceProcess]]:
    """`start("ingest", ready=True, environment={…}, …)` → a running service; all are ended after the test."""
    started: list[ServiceProcess] = []

    def starter(name: str, *, ready: bool = True, **options: Any) -> ServiceProcess:
        process = ServiceProcess(name, options.pop("data", data_directory), **options)
        started.append(process)
        return process.wait_ready() if ready else process

    yield starter
    for process in reversed(started):
        process.clean_up()


@pytest.fixture
def ingest(start: Callable[..., ServiceProcess]) -> ServiceProcess:
    """A running ingest with its default settings."""
    return start("ingest")


@pytest.fixture
def writer(data_directory: DataDirectory) -> Iterator[Writer]:
    """A producer without an identity on the data directory's ingest."""
    with Writer(data_directory) as made:
        yield made
