"""Fixtures of the chaos suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfmon.paths import DataDirectory
from perfmon.pipeline import ensure_running, stop
from tests.chaos.acknowledged_load import Load
from tests.chaos.faults.fixtures import load_of_a_test, memory_folder, rng  # noqa: F401 - fixtures
from tests.chaos.ingest_story import IngestStory, Start

#: Metrics a second of the load on a whole pipeline.
RATE = int(os.environ.get("CHAOS_RATE", "3000"))


@pytest.fixture
def running_pipeline(tmp_path: Path) -> Iterator[DataDirectory]:
    """The data directory of a whole pipeline under supervisord that is ready; it is stopped after the test."""
    directory = DataDirectory((tmp_path / "data").resolve())
    ensure_running(directory, started_by="test", wait_ready_s=120)
    yield directory
    stop(directory, timeout_s=60)


@pytest.fixture
def pipeline_load(running_pipeline: DataDirectory) -> Iterator[Load]:
    """A load on that pipeline."""
    load = Load(running_pipeline, RATE).start()
    yield load
    load.end()


@pytest.fixture
def tell(start: Start, data_directory: DataDirectory) -> Iterator[Callable[..., IngestStory]]:
    """`tell(environment={…}, moment=…)` → an `IngestStory`, its load already running; it ends with the test."""
    told: list[IngestStory] = []

    def teller(**options: Any) -> IngestStory:
        told.append(IngestStory(start, data_directory, **options))
        told[-1].load.start()
        return told[-1]

    yield teller
    for story in told:
        story.load.end()
