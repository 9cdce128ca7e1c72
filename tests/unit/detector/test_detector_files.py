"""The anomaly files and their index: each line once, whatever lies there."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from perfmon.paths import DataDirectory
from services.detector.shell.files import AnomalyFiles, line_of
from shared.timespan import iso
from tests.unit.detector.detector_kit import (
    KEY,
    T0,
    feed,
    make_watch,
    stored,
)
from tests.unit.detector.detector_shell_kit import DAY_NAME, NOW, faulty, lines


def index(data: DataDirectory) -> dict[str, Any]:
    return json.loads((data.index / "anomalies-index.json").read_text())["index"]


def events_of(n: int = 320) -> list[Any]:
    watch = make_watch()
    feed(watch, faulty(n))
    return stored(watch)


def test_a_line_is_the_seeds_object_with_its_phase_and_private_to_its_owner(data_directory: DataDirectory) -> None:
    (event,) = events_of()
    AnomalyFiles(data_directory).append([line_of(event, "open")], NOW)
    (line,) = lines(data_directory)
    assert line["timestamp"] == iso(event.start_ms)
    assert (line["mcpServer"], line["toolName"], line["anomalyType"]) == (*KEY, "response_time_spike")
    assert set(line["details"]) >= {"currentValue", "expectedRange", "deviation", "confidence", "method"}
    assert line["phase"] == "open"
    assert line["recommendations"]
    path = data_directory.anomalies / f"{DAY_NAME}.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert index(data_directory)[DAY_NAME]["server"]["count"] == 1


def test_a_line_offered_again_is_written_once_by_the_same_and_by_the_next_process(
    data_directory: DataDirectory,
) -> None:
    (event,) = events_of()
    owed = [line_of(event, "open"), line_of(event, "close")]
    files = AnomalyFiles(data_directory)
    files.append(owed[:1], NOW)
    files.append(owed, NOW)
    AnomalyFiles(data_directory).append(owed, NOW)
    assert [line["phase"] for line in lines(data_directory)] == ["open", "close"]
    assert index(data_directory)[DAY_NAME]["server"]["count"] == 1


def test_a_torn_last_line_and_foreign_lines_hold_nothing_up(data_directory: DataDirectory) -> None:
    path = data_directory.anomalies / f"{DAY_NAME}.jsonl"
    path.write_bytes(b'null\n[1]\n{"id": 5}\nnot json\n{"id":"torn')
    (event,) = events_of()
    files = AnomalyFiles(data_directory)
    files.append([line_of(event, "open")], NOW)
    assert b"torn" not in path.read_bytes()
    assert json.loads(path.read_text().splitlines()[-1])["id"] == event.id
    assert [e.id for e in files.events(0)] == [event.id]


def test_an_event_comes_back_from_its_line(data_directory: DataDirectory) -> None:
    (event,) = events_of()
    files = AnomalyFiles(data_directory)
    files.append([line_of(event, "open"), line_of(event, "close")], NOW)
    (again,) = files.events(T0)
    for name in (
        "id",
        "series",
        "type",
        "start_ms",
        "end_ms",
        "peak_ms",
        "points",
        "calls",
        "severity",
        "recommendations",
    ):
        assert getattr(again, name) == getattr(event, name)
    assert again.value == pytest.approx(event.value, rel=1e-8)


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{", '{"version": "9", "index": {}}', '{"index": 3, "version": "1.0.0"}']
)
def test_a_missing_or_wrong_index_is_made_anew_from_the_files(
    data_directory: DataDirectory, content: str | None
) -> None:
    (event,) = events_of()
    AnomalyFiles(data_directory).append([line_of(event, "open")], NOW)
    good = index(data_directory)
    path = data_directory.index / "anomalies-index.json"
    path.unlink() if content is None else path.write_text(content)
    AnomalyFiles(data_directory).update_index(NOW)
    assert index(data_directory) == good


def test_the_index_follows_days_that_the_cleanup_removed(data_directory: DataDirectory) -> None:
    (event,) = events_of()
    files = AnomalyFiles(data_directory)
    files.append([line_of(event, "open")], NOW)
    (data_directory.anomalies / f"{DAY_NAME}.jsonl").unlink()
    files.update_index(NOW)
    assert index(data_directory) == {}


def test_a_link_in_the_place_of_a_file_is_not_followed(data_directory: DataDirectory, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    (data_directory.anomalies / f"{DAY_NAME}.jsonl").symlink_to(victim)
    (event,) = events_of()
    with pytest.raises(OSError, match=r"symbolic|loop|levels"):
        AnomalyFiles(data_directory).append([line_of(event, "open")], NOW)
    assert victim.read_text() == "precious\n"
