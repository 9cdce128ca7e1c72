"""Fixtures of the cases of faults; `tests.chaos.conftest` hands them on."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


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
