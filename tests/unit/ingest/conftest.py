"""A data directory for stores that are driven step by step."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfmon.paths import DataDirectory


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "data")
