"""The small parts of the proxy: its command line, its frames, its line cutter, its tap, and what is a call's own."""

from __future__ import annotations

import io
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmon.wrap.arguments import UsageError, WrapOptions, parse
from perfmon.wrap.frames import Frame, FrameKind, encode_header, read_frames
from perfmon.wrap.lines import Line, LineCutter
from perfmon.wrap.tap import Tap
from perfmon.wrap.usage import ProcessSample, TreeSample, Usage, attribute

MS = 1_000_000
MB = 1024 * 1024


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--", "cmd", "-x"], WrapOptions(("cmd", "-x"))),
        (["cmd", "--name", "theirs"], WrapOptions(("cmd", "--name", "theirs"))),
        (["--name", "n", "--", "cmd", "--", "x"], WrapOptions(("cmd", "--", "x"), "n")),
        (["--name=a=b", "--data", "/d", "cmd"], WrapOptions(("cmd",), "a=b", "/d")),
        (["--", "--odd"], WrapOptions(("--odd",))),
    ],
)
def test_the_command_line_is_the_servers_from_its_first_word_on(argv: list[str], expected: WrapOptions) -> None:
    assert parse(argv) == expected


@pytest.mark.parametrize(
    "argv", [[], ["--"], ["--name"], ["--name", "--"], ["--name=", "--", "c"], ["--nam", "x", "--", "c"], ["-x", "c"]]
)
def test_a_command_line_that_cannot_be_understood_is_refused(argv: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(argv)


def test_frames_come_back_and_a_torn_one_is_left_out() -> None:
    frames = [
        Frame(FrameKind.TO_SERVER, 2**62, b"abc"),
        Frame(FrameKind.GAP_TO_CLIENT, 0, b""),
        Frame(FrameKind.EXIT, 5, b""),
    ]
    raw = b"".join(encode_header(frame.kind, frame.stamp_ns, len(frame.data)) + frame.data for frame in frames)
    assert list(read_frames(io.BytesIO(raw))) == frames
    for cut in range(len(raw)):
        assert list(read_frames(io.BytesIO(raw[:cut]))) == frames[: len(list(read_frames(io.BytesIO(raw[:cut]))))]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40)), st.data())
def test_short_lines_come_out_whole(lines: list[bytes], data: st.DataObject) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    stream = b"".join(line + b"\n" for line in lines)
    cutter, found, at = LineCutter(max_line_bytes=64, glimpse_bytes=8), list[Line](), 0
    while at < len(stream):
        size = data.draw(st.integers(1, 50))
        found += cutter.feed(stream[at : at + size])
        at += size
    assert found == [Line(line) for line in lines]


@pytest.mark.parametrize("step", [1, 7, 64, 1000])
def test_of_a_long_line_the_ends_are_kept_and_the_next_is_whole(step: int) -> None:
    long = bytes(range(32, 127)) * 10
    stream = long + b"\nshort\n"
    cutter, found = LineCutter(max_line_bytes=64, glimpse_bytes=8), list[Line]()
    for at in range(0, len(stream), step):
        found += cutter.feed(stream[at : at + step])
    assert found == [Line(None, long[:8], long[-8:]), Line(b"short")]


def test_a_cutter_that_lost_bytes_waits_for_the_next_line() -> None:
    cutter = LineCutter()
    assert cutter.feed(b"begun ") == []
    cutter.gap()
    assert cutter.feed(b"rest\nwhole\n") == [Line(b"whole")]


def _read_all(fd: int) -> list[Frame]:
    with open(fd, "rb") as stream:
        return list(read_frames(stream))


def test_a_tap_writes_all_it_was_given_and_then_the_end() -> None:
    reading, writing = os.pipe()
    tap = Tap(writing)
    frames: list[Frame] = []
    reader = threading.Thread(target=lambda: frames.extend(_read_all(reading)))
    reader.start()
    tap.start()
    for number in range(100):
        tap.add(FrameKind.TO_SERVER, number, bytes([number]) * 5_000)
        tap.wake()
    tap.close(10)
    reader.join(10)
    assert [(frame.stamp_ns, len(frame.data)) for frame in frames[:-1]] == [(number, 5_000) for number in range(100)]
    assert frames[-1].kind is FrameKind.EXIT


def test_a_tap_that_nobody_reads_drops_and_says_where() -> None:
    reading, writing = os.pipe()
    tap = Tap(writing, max_waiting_bytes=10)
    tap.add(FrameKind.TO_CLIENT, 1, b"12345678")
    tap.add(FrameKind.TO_CLIENT, 2, b"dropped")
    tap.add(FrameKind.TO_SERVER, 3, b"9")
    tap.add(FrameKind.TO_SERVER, 4, b"dropped")
    tap.start()
    tap.close(10)
    kinds = [(frame.kind.name, frame.data) for frame in _read_all(reading)]
    assert kinds == [
        ("TO_CLIENT", b"12345678"),
        ("GAP_TO_CLIENT", b""),
        ("TO_SERVER", b"9"),
        ("GAP_TO_SERVER", b""),
        ("EXIT", b""),
    ]


def test_a_tap_whose_reader_died_takes_no_more() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    tap = Tap(writing)
    tap.add(FrameKind.TO_CLIENT, 1, b"x")
    tap.start()
    tap.close(10)
    assert tap.broken
    tap.add(FrameKind.TO_CLIENT, 1, b"x")
    tap.wake()


def _process(cpu_ms: float, *, rss_mb: float = 10, io_kb: float | None = 0, created_ms: float = -1000) -> ProcessSample:
    return ProcessSample(
        int(cpu_ms * MS), 1, int(rss_mb * MB), None if io_kb is None else int(io_kb * 1024), int(created_ms * MS)
    )


def _usage(before: dict[int, ProcessSample], after: dict[int, ProcessSample], **changes: object) -> Usage:
    times: dict[str, float] = {"from": 0, "to": 100, "first": 0, "second": 100} | changes  # type: ignore[assignment] # floats
    return attribute(
        TreeSample(int(times["first"] * MS), before),
        TreeSample(int(times["second"] * MS), after),
        started_ns=int(times["from"] * MS),
        ended_ns=int(times["to"] * MS),
        overlapped=bool(changes.get("overlapped")),
    )


def test_a_call_has_its_share_of_a_core_the_larger_memory_and_the_bytes_in_between() -> None:
    usage = _usage({1: _process(50, rss_mb=20, io_kb=4)}, {1: _process(75, rss_mb=15, io_kb=12)})
    assert usage == Usage(cpu=25.0, memory=20.0, disk_io=8.0)


def test_overlapping_calls_share_memory_alone() -> None:
    assert _usage({1: _process(0)}, {1: _process(50)}, overlapped=True) == Usage(memory=10.0)


def test_a_call_shorter_than_a_tick_has_no_cpu() -> None:
    usage = _usage({1: _process(0)}, {1: _process(5)}, to=9, second=9)
    assert usage == Usage(memory=10.0, disk_io=0.0)


@pytest.mark.parametrize(("first", "second"), [(30, 100), (0, 130)])
def test_samples_that_came_late_give_no_cpu(first: float, second: float) -> None:
    assert _usage({1: _process(0)}, {1: _process(50)}, first=first, second=second).cpu is None


def test_a_first_sample_after_the_call_gives_no_disk() -> None:
    assert _usage({1: _process(0)}, {1: _process(50)}, first=101, second=102) == Usage(memory=10.0)


def test_samples_of_a_neighbouring_call_give_memory_alone() -> None:
    assert _usage({1: _process(0)}, {1: _process(50)}, first=-1) == Usage(memory=10.0)
    assert _usage({1: _process(0)}, {1: _process(50)}, second=99) == Usage(memory=10.0)


def test_a_process_started_by_the_call_counts_whole() -> None:
    usage = _usage({1: _process(0)}, {1: _process(10), 2: _process(40, rss_mb=5, io_kb=3, created_ms=20)})
    assert usage == Usage(cpu=50.0, memory=15.0, disk_io=3.0)


def test_a_process_that_was_there_but_not_seen_does_not_count() -> None:
    usage = _usage({1: _process(0)}, {1: _process(10), 2: _process(5_000, created_ms=-500)})
    assert usage.cpu == 10.0


def test_a_process_that_ended_counts_through_its_parent() -> None:
    usage = _usage({1: _process(100), 2: _process(5_000)}, {1: _process(100 + 5_000 + 30)})
    assert usage.cpu == 30.0


def test_a_process_that_vanished_without_a_trace_gives_no_figure() -> None:
    usage = _usage({1: _process(100), 2: _process(5_000, io_kb=9)}, {1: _process(110)})
    assert (usage.cpu, usage.disk_io) == (None, None)


def test_disk_that_is_not_told_is_not_measured() -> None:
    assert _usage({1: _process(0, io_kb=None)}, {1: _process(0, io_kb=None)}).disk_io is None


def test_a_coarse_clock_that_did_not_tick_in_a_short_call_says_nothing() -> None:
    coarse = ProcessSample(0, 10 * MS, MB, 0, 0)
    short = attribute(
        TreeSample(0, {1: coarse}), TreeSample(50 * MS, {1: coarse}), started_ns=0, ended_ns=50 * MS, overlapped=False
    )
    long = attribute(
        TreeSample(0, {1: coarse}), TreeSample(500 * MS, {1: coarse}), started_ns=0, ended_ns=500 * MS, overlapped=False
    )
    assert (short.cpu, long.cpu) == (None, 0.0)


@pytest.mark.parametrize("sample", [None, TreeSample(0, {})])
def test_without_samples_there_are_no_figures(sample: TreeSample | None) -> None:
    assert attribute(sample, sample, started_ns=0, ended_ns=MS, overlapped=False) == Usage()
