"""Every timeline test runs twice: straight on, and saved to disk and loaded anew before every step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from alerter_timeline import Timeline


@pytest.fixture(params=["straight on", "restarted at every step"])
def timeline(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Timeline]:
    def make(**limits: int) -> Timeline:
        return Timeline(restart_in=tmp_path if request.param != "straight on" else None, **limits)

    return make
