"""An aggregator on a directory of its own."""

from __future__ import annotations

import pytest

from perfmon.paths import DataDirectory
from tests.unit.aggregator.aggregator_kit import Aggregator


@pytest.fixture
def aggregator(data_directory: DataDirectory) -> Aggregator:
    return Aggregator(data_directory)
