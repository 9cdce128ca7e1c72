"""Reports on disk: private, whole, never over another, the last one known after a restart; messages read from JSONL files."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import reporter_samples as samples

from perfmon.paths import DataDirectory
from services.reporter.core.messages import Said, fingerprint, grouped
from services.reporter.core.model import Range
from services.reporter.error_messages import TAIL_BYTES, read_messages
from services.reporter.report_files import ReportFiles
from shared.names import path_stem
from shared.timespan import iso

NOW = samples.END_MS
DAY = 86_400_000


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    for room in (directory.reports, directory.state, directory.metrics):
        room.mkdir(parents=True)
    return directory


def test_a_report_is_private_named_for_its_range_and_has_its_digest(data: DataDirectory) -> None:
    path, digest = ReportFiles(data).write("héllo", "markdown", samples.SPAN, NOW)
    name = Path(path).name
    assert name.startswith("report-day-20251030T160000Z-20251031T160000Z-20251031T160000Z-")
    assert name.endswith(".md")
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert Path(path).read_text() == "héllo"
    assert digest["bytes"] == 6
    assert len(digest["sha256"]) == 64


def test_the_same_report_twice_is_two_files_and_no_temporary_is_left(data: DataDirectory) -> None:
    files = ReportFiles(data)
    paths = {files.write(str(n), "html", samples.SPAN, NOW)[0] for n in range(20)}
    assert len(paths) == 20
    assert {str(path) for path in data.reports.iterdir()} == paths


def test_a_report_that_cannot_be_written_leaves_nothing(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("services.reporter.report_files.write_atomic", full)
    with pytest.raises(OSError, match="No space"):
        ReportFiles(data).write("x", "json", samples.SPAN, NOW)
    assert list(data.reports.iterdir()) == []


def test_the_last_answer_is_known_after_a_restart_until_its_file_goes(data: DataDirectory) -> None:
    files = ReportFiles(data)
    assert files.latest() is None
    path, _ = files.write("x", "markdown", samples.SPAN, NOW)
    files.remember({"format": "markdown", "path": path, "report": "x"})
    assert ReportFiles(data).latest() == {"format": "markdown", "path": path, "report": "x"}
    Path(path).unlink()
    assert ReportFiles(data).latest() is None


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", 5, None, "\x00"])
def test_a_memory_that_came_with_a_clone_names_no_file_outside_reports(data: DataDirectory, path: object) -> None:
    (data.state / "latest-report.json").write_text(json.dumps({"format": "markdown", "path": path}))
    assert ReportFiles(data).latest() is None


def test_a_link_in_reports_is_not_served(data: DataDirectory) -> None:
    link = data.reports / "report-day-x.md"
    link.symlink_to("/etc/passwd")
    (data.state / "latest-report.json").write_text(json.dumps({"format": "markdown", "path": str(link)}))
    assert ReportFiles(data).latest() is None


def metric_file(data: DataDirectory, day: str, server: str, tool: str) -> Path:
    folder = data.metrics / day / path_stem(server)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{path_stem(tool)}.jsonl"


def line(server: str, tool: str, ts: int, error: str | None) -> str:
    row = {
        "timestamp": iso(ts),
        "mcpServer": server,
        "toolName": tool,
        "duration": 5,
        "success": error is None,
        "error": error,
    }
    return json.dumps(row, separators=(",", ":")) + "\n"


def test_messages_alike_are_one_group_with_how_often_and_when() -> None:
    said = [
        Said(10, "request 123 to 0xAB failed"),
        Said(30, "request 99  to 0xff failed"),
        Said(20, "other"),
        Said(5, " "),
    ]
    first, second = grouped("s", "t", said)
    assert (first.count, first.message, first.first_ms, first.last_ms) == (2, "request 99  to 0xff failed", 10, 30)
    assert (second.count, second.message) == (1, "other")


def test_ids_and_figures_do_not_tell_messages_apart() -> None:
    assert fingerprint("job 7c9e6679-7425-40de-944b-e07fc1f90ae7 took 12.5 s") == fingerprint(
        "job 11111111-2222-3333-4444-555555555555 took 99.1 s"
    )


def test_failures_are_read_across_midnight_from_the_range_alone(data: DataDirectory) -> None:
    midnight = NOW - NOW % DAY
    for day, times in (
        ("2025-10-30", (midnight - 5_000, midnight - 3_000)),
        ("2025-10-31", (midnight + 3_000, midnight + 90_000)),
    ):
        with metric_file(data, day, "a/b", "t").open("w") as file:
            file.writelines(line("a/b", "t", ts, "boom 5") for ts in times)
            file.write(line("a/b", "t", times[0], None))
            file.write('null\n[1]\n{"success":false\nnot json "success":false\n')
            file.write('{"success":false,"mcpServer":"a/b","toolName":"t","timestamp":"yesterday-ish","error":"x"}\n')
            file.write('{"success":false,"torn')
    (group,) = read_messages(data, Range(midnight - 4_000, midnight + 4_000), [("a/b", "t")])
    assert (group.message, group.count) == ("boom 5", 2)
    assert (group.first_ms, group.last_ms) == (midnight - 3_000, midnight + 3_000)


def test_of_a_large_file_the_newest_failures_are_read(data: DataDirectory) -> None:
    path = metric_file(data, "2025-10-31", "s", "t")
    old, new = line("s", "t", NOW - 9_000, "old " + "x" * 400), line("s", "t", NOW - 1_000, "new")
    path.write_text(old * (2 * TAIL_BYTES // len(old)) + new)
    groups = read_messages(data, samples.SPAN, [("s", "t")])
    assert {group.message[:3] for group in groups} == {"old", "new"}
    assert sum(group.count for group in groups) <= TAIL_BYTES // len(old) + 2


@pytest.mark.parametrize("server", ["", "../..", "\ud800", "\x00", "x" * 5000])
def test_names_that_no_file_can_have_give_no_messages(data: DataDirectory, server: str) -> None:
    assert read_messages(data, samples.SPAN, [(server, server)]) == []


def test_a_file_that_cannot_be_read_gives_no_messages(data: DataDirectory) -> None:
    path = metric_file(data, "2025-10-31", "s", "t")
    path.symlink_to("/etc/passwd")
    assert read_messages(data, samples.SPAN, [("s", "t")]) == []
    path.unlink()
    os.mkfifo(path)
    assert read_messages(data, samples.SPAN, [("s", "t")]) == []
