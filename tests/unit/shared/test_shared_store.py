"""Files written whole, appended to, and read back as columns."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from perfmon.paths import DataDirectory
from shared.store.appends import TAIL_BYTES, append_lines
from shared.store.atomic import read_json, write_atomic, write_json
from shared.store.raw import TooManyRows, metric_files, read_raw
from shared.timespan import DAY_MS, day_start, iso
from tests.kit import line

DAY = day_start("2025-10-31")


# --- atomic -------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    old = os.umask(0)
    try:
        write_atomic(path, b"one")
        write_atomic(path, b"two")
    finally:
        os.umask(old)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_after_a_failed_write_the_old_content_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "x.json"
    write_atomic(path, b"old")

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, refuse)
        with pytest.raises(OSError, match="No space"):
            write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, view: real(descriptor, view[:3]))
    write_atomic(tmp_path / "x", b"0123456789")
    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "x").symlink_to(victim)
    write_atomic(tmp_path / "x", b"new")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "x").is_symlink()


def test_json_is_strict_and_survives_any_text(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"x": math.nan})
    assert not path.exists()
    write_json(path, {"é": "\udc80\u2028"})
    assert read_json(path) is not None
    write_json(path, {"é": [1, None]})
    assert read_json(path) == {"é": [1, None]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_reads_as_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert read_json(tmp_path / "x.json") is None
    assert read_json(tmp_path / "missing.json") is None
    (tmp_path / "link.json").symlink_to(tmp_path / "good.json")
    (tmp_path / "good.json").write_text("{}")
    assert read_json(tmp_path / "link.json") is None
    assert read_json(tmp_path) is None


# --- appends ------------------------------------------------------------------------------------------------------


def test_lines_are_appended_after_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert append_lines(path, [b"1", b"2"]) == 4
    with path.open("ab") as file:
        file.write(b"torn")
    assert append_lines(path, [b"3"]) == 6
    assert path.read_bytes() == b"1\n2\n3\n"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("torn", [1, TAIL_BYTES - 1, TAIL_BYTES, TAIL_BYTES + 1, 3 * TAIL_BYTES])
@pytest.mark.parametrize("before", [b"", b"1\n", b"x" * 100 + b"\n"])
def test_a_torn_line_of_any_length_is_cut(tmp_path: Path, torn: int, before: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(before + b"t" * torn)
    append_lines(path, [b"2"])
    assert path.read_bytes() == before + b"2\n"


def test_a_refused_append_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.jsonl"
    append_lines(path, [b"1"])
    real = os.write

    def half(descriptor: int, view: memoryview) -> int:
        if len(view) < 100:
            raise OSError(28, "No space left on device")
        return real(descriptor, view[:50])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            append_lines(path, [b"x" * 120])
    assert path.read_bytes() == b"1\n"


def test_appending_never_goes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").symlink_to(tmp_path / "victim")
    append_lines(tmp_path / "x.jsonl", [b"1"])
    assert (tmp_path / "x.jsonl").read_bytes() == b"1\n"
    assert not (tmp_path / "victim").exists()


# --- raw ----------------------------------------------------------------------------------------------------------


def put(data: DataDirectory, path: str, *lines: bytes) -> None:
    target = data.metrics / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"".join(lines))


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path)


def durations(data: DataDirectory, start: int = DAY - DAY_MS, end: int = DAY + DAY_MS, **more: Any) -> list[float]:
    found: list[float] = read_raw(data, start, end, **more).batch.duration.tolist()
    return found


def test_rows_are_read_by_their_own_time_across_midnight(data: DataDirectory) -> None:
    put(data, "2025-10-30/s/t.jsonl", line("s", "t", iso(DAY - 1), 1), line("s", "t", iso(DAY - 5_000), 2))
    put(data, "2025-10-31/s/t.jsonl", line("s", "t", iso(DAY), 3), line("s", "t", iso(DAY + 5_000), 4))
    assert durations(data) == [1, 2, 3, 4]
    assert durations(data, DAY - 1, DAY + 1) == [1, 3]
    assert durations(data, DAY, DAY) == []


def test_a_filter_takes_whole_names_not_prefixes(data: DataDirectory) -> None:
    for tool in ("read", "read_file", "READ"):
        put(data, f"2025-10-31/s/{tool}.jsonl", line("s", tool, iso(DAY), len(tool)))
    assert durations(data, tool="read") == [4]
    assert durations(data, server="s", tool="read_file") == [9]
    assert durations(data, server="") == []
    assert durations(data, server="../../s") == []
    assert durations(data, server="\udc80") == []


def test_a_row_in_a_file_of_another_name_is_not_taken_for_it(data: DataDirectory) -> None:
    put(data, "2025-10-31/s/t.jsonl", line("s", "other", iso(DAY), 1), line("s", "t", iso(DAY), 2))
    assert durations(data, server="s", tool="t") == [2]


def test_lines_that_are_not_the_seeds_are_passed_over_and_counted(data: DataDirectory) -> None:
    good = line("s", "t", iso(DAY), 1.5)
    record = json.loads(good)
    bad = [
        b"null\n",
        b"\n",
        b"[]\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b'{"timestamp":"2025-10-31T00:00:00Z"}\n',
        json.dumps(record | {"duration": "5"}).encode() + b"\n",
        json.dumps(record | {"success": "yes"}).encode() + b"\n",
        json.dumps(record | {"timestamp": "never"}).encode() + b"\n",
        json.dumps(record | {"resource": 5}).encode() + b"\n",
        good.replace(b"1.5", b"1e999"),
        good.replace(b"1.5", b"NaN"),
    ]
    put(data, "2025-10-31/s/t.jsonl", good, *bad, good, good.rstrip(b"\n"))
    rows = read_raw(data, DAY, DAY + DAY_MS)
    assert rows.batch.duration.tolist() == [1.5, 1.5]
    assert rows.unparsable_lines == len(bad)


def test_everything_of_a_line_comes_back(data: DataDirectory) -> None:
    full = {
        "timestamp": iso(DAY + 123),
        "mcpServer": "sé",
        "toolName": "t",
        "duration": 0.1,
        "success": False,
        "error": "boom",
        "resource": {"cpu": 15.5, "memory": None, "diskIO": 1024},
        "callId": "c",
        "added": "later",
    }
    put(data, "2025-10-31/s%C3%A9/t.jsonl", json.dumps(full).encode() + b"\n")
    batch = read_raw(data, DAY, DAY + DAY_MS, server="sé", tool="t").batch
    assert batch.dictionary == (("sé", "t"),)
    assert (batch.ts.tolist(), batch.duration.tolist(), batch.ok.tolist()) == ([DAY + 123], [0.1], [0])
    assert (batch.errors, batch.call_ids) == ({0: "boom"}, {0: "c"})
    assert batch.cpu is not None
    assert batch.cpu.tolist() == [15.5]
    assert batch.memory is None


def test_too_many_rows_are_refused_not_cut(data: DataDirectory) -> None:
    put(data, "2025-10-31/s/t.jsonl", line("s", "t", iso(DAY), 1) * 3)
    assert durations(data, max_rows=3) == [1, 1, 1]
    with pytest.raises(TooManyRows):
        durations(data, max_rows=2)


def test_sizes_limit_what_is_read(data: DataDirectory) -> None:
    one = line("s", "t", iso(DAY), 1)
    put(data, "2025-10-31/s/t.jsonl", one * 3)
    put(data, "2025-10-31/s/u.jsonl", line("s", "u", iso(DAY), 2))
    assert durations(data, sizes={"2025-10-31/s/t.jsonl": 2 * len(one)}) == [1, 1]
    assert durations(data, sizes={"2025-10-31/s/t.jsonl": len(one) + 5}) == [1]
    assert durations(data, sizes={}) == []


def test_links_are_never_followed(data: DataDirectory, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(DataDirectory(outside), "2025-10-31/s/t.jsonl", line("s", "t", iso(DAY), 66))
    put(data, "2025-10-31/real/t.jsonl", line("real", "t", iso(DAY), 1))
    folder = data.metrics / "2025-10-31"
    (data.metrics / "2025-10-30").symlink_to(outside / "metrics" / "2025-10-31")
    (folder / "s").symlink_to(outside / "metrics" / "2025-10-31" / "s")
    (folder / "real" / "l.jsonl").symlink_to(outside / "metrics" / "2025-10-31" / "s" / "t.jsonl")
    (folder / "real" / "d.jsonl").mkdir()
    assert durations(data) == [1]
    assert durations(data, server="s") == []
    assert durations(data, server="real", tool="l") == []
    assert len(list(metric_files(data.metrics, DAY - DAY_MS, DAY + DAY_MS))) == 1


def test_lines_longer_than_a_chunk_are_whole(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.store.raw.CHUNK_BYTES", 7)
    put(data, "2025-10-31/s/t.jsonl", line("s", "t", iso(DAY), 1), line("s", "t", iso(DAY), 2))
    assert durations(data) == [1, 2]


def test_a_store_without_data_is_empty(data: DataDirectory) -> None:
    assert durations(data) == []
    assert read_raw(data, DAY, DAY).unparsable_lines == 0


def test_lines_are_never_appended_to_a_second_name_of_the_file(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "lines.jsonl"
    victim.write_bytes(b"precious\ntorn")
    path.hardlink_to(victim)
    append_lines(path, [b"1"])
    append_lines(path, [b"2"])
    assert victim.read_bytes() == b"precious\ntorn"
    assert path.read_bytes() == b"precious\n1\n2\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["lines.jsonl", "victim"]
