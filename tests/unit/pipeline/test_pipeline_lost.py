"""What `perfmon status` and `perfmon doctor` say of rows that are gone."""

from __future__ import annotations

from typing import Any

import pytest

from perfmon.paths import DataDirectory
from perfmon.pipeline import check_processes, observe

LOST = {
    "lost_rows_total": 70,
    "lostRowsByReason": {"journal_full": 70},
    "come_again_rows_total": 9,
    "rejected_total": 3,
}


def findings(stats: dict[str, Any], data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    monkeypatch.setattr(check_processes, "ask_all", lambda *_: {"ingest": stats})
    return [(check.name, check.found) for check in check_processes.check_counters(data, {})]


def test_doctor_warns_of_lost_rows_with_their_reasons(
    data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    [(name, found)] = findings(LOST, data_directory, monkeypatch)
    assert name == "lost rows"
    assert found == "70 sent without asking for an acknowledgement: journal_full 70"


def test_doctor_warns_of_connections_that_were_cut(
    data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    [(name, found)] = findings({"connection_cuts_total": 2, "descriptorLimit": 300}, data_directory, monkeypatch)
    assert name == "connections"
    assert "300 descriptors" in found


def test_rows_that_come_again_are_no_finding_and_no_drops(
    data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert findings(LOST | {"lost_rows_total": 0}, data_directory, monkeypatch) == []
    assert observe._sum(LOST, observe.DROP_WORDS) == 70
