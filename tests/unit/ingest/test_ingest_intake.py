"""The sockets' end: a stop finishes whether or not they listen at that moment."""

from __future__ import annotations

from typing import Any

import structlog

from perfmon.paths import DataDirectory
from services.ingest.intake import Intake
from shared.runtime.service import Service
from shared.settings import Settings


def nothing(*_: Any) -> None:
    return None


def test_a_stop_while_all_connections_are_cut_goes_on(data_directory: DataDirectory) -> None:
    structlog.reset_defaults()
    service = Service("ingest", data_directory, Settings())
    intake = Intake(service, nothing, nothing, nothing)
    intake.bind(nothing)
    service.on_stop(intake.close)
    service.guard._cut()
    intake.unbind()
    assert not intake.waiting
    service._end()
