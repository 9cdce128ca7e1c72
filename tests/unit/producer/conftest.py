"""An endpoint and a small ingest behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fake_ingest import FakeIngest


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/i"


@pytest.fixture
def ingest(endpoint: str) -> Iterator[FakeIngest]:
    fake = FakeIngest(endpoint).start()
    yield fake
    fake.stop()
