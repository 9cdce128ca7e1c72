"""Fixtures of the cases of faults; `tests.chaos.conftest` hands them on."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfmon.paths import DataDirectory
from tests.chaos.acknowledged_load import Load
from tests.chaos.faults.judge import RATE


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of copies are made in it."""
    shared = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="chaos-", dir=shared if os.access(shared, os.W_OK) else None))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def rng() -> random.Random:
    """The same damage every time; CHAOS_SEED in the environment chooses another."""
    return random.Random(int(os.environ.get("CHAOS_SEED", "7")))


@pytest.fixture(name="load")
def load_of_a_test(data_directory: DataDirectory) -> Iterator[Load]:
    """A load on the data directory that the test starts; it ends with the test."""
    made = Load(data_directory, RATE)
    yield made
    ended(made)


def ended(load: Load) -> None:
    """The load has ended, or was never started."""
    with contextlib.suppress(RuntimeError):  # it was never started
        load.end()
