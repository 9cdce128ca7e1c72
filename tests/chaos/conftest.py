"""Fixtures of the chaos suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perfmon.paths import DataDirectory
from tests.chaos.faults.fixtures import memory_folder, rng  # noqa: F401 - fixtures
from tests.chaos.ingest_story import IngestStory, Start


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
