"""Frames that are made new by overwriting bytes say what was meant, every time."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.frames import ring
from bench.load import SPREAD_MS, columns, series_names
from bench.vm_bodies import FORMATS, SAMPLES, RemoteWriteBody, varint
from perfmon.wire import Kind, unpack_envelope
from services.ingest.core.door import let_in
from shared.batch import from_columns

NOW_MS = 1_763_887_776_123
HOUR_MS = 3_600_000


@pytest.mark.parametrize("rows", [1, 500, 10_000])
def test_a_batch_frame_decodes_to_the_columns_it_was_made_of(rows: int) -> None:
    frame = ring("batch", rows, 1, "bench", seed=7)[0]
    found = columns(rows, 7)
    for seq, now_ms in ((1, NOW_MS), (2**40, NOW_MS + 5)):
        envelope = unpack_envelope(bytes(frame.at(seq, now_ms)))
        assert (envelope.kind, envelope.body["seq"], envelope.body["producer"]) == (Kind.BATCH, seq, "bench")
        batch = from_columns(envelope.body)
        assert [tuple(pair) for pair in envelope.body["dictionary"]] == series_names()
        assert np.array_equal(batch.codes, found.series)
        assert np.array_equal(batch.ts, now_ms - found.age_ms)
        for name in ("duration", "ok", "cpu", "memory", "disk_io"):
            assert np.array_equal(getattr(batch, name), getattr(found, name)), name


@pytest.mark.parametrize("rows", [1, 500])
def test_a_rows_frame_decodes_to_the_maps_that_another_language_would_send(rows: int) -> None:
    frame = ring("rows", rows, 1, "bench", seed=3)[0]
    found, names = columns(rows, 3), series_names()
    frame.at(9, NOW_MS - 1)
    body = unpack_envelope(bytes(frame.at(10, NOW_MS))).body
    assert body["seq"] == 10
    for row, sent in enumerate(body["rows"]):
        assert sent == {
            "mcpServer": names[found.series[row]][0],
            "toolName": names[found.series[row]][1],
            "timestamp": NOW_MS - found.age_ms[row],
            "duration": found.duration[row],
            "success": bool(found.ok[row]),
            "resource": {"cpu": found.cpu[row], "memory": found.memory[row], "diskIO": found.disk_io[row]},
        }


@pytest.mark.parametrize("shape", ["batch", "rows"])
def test_the_door_lets_every_row_in(shape: str) -> None:
    envelope = unpack_envelope(bytes(ring(shape, 500, 1, "bench")[0].at(1, NOW_MS)))
    arrival = let_in(envelope.kind, envelope.body, NOW_MS, NOW_MS - HOUR_MS)
    assert len(arrival.batch) == 500
    assert arrival.refused.total == 0


def test_frames_of_a_ring_differ_and_so_does_one_frame_from_turn_to_turn() -> None:
    first, second = ring("batch", 500, 2, "bench")
    assert first.at(1, NOW_MS) != second.at(1, NOW_MS)
    before = bytes(first.at(1, NOW_MS))
    assert bytes(first.at(2, NOW_MS + 1)) != before


def test_rows_of_a_batch_lie_in_the_second_before_it_in_order() -> None:
    age_ms = columns(1_000, 1).age_ms
    assert 0 <= age_ms.min() <= age_ms.max() < SPREAD_MS
    assert (np.diff(age_ms) <= 0).all()


def test_a_varint_is_protobufs() -> None:
    assert [varint(value) for value in (0, 127, 128, 300)] == [b"\x00", b"\x7f", b"\x80\x01", b"\xac\x02"]


def test_a_remote_write_body_holds_every_sample_once_with_the_frames_times() -> None:
    found = columns(200, 5)
    body = RemoteWriteBody(found)
    body.at(NOW_MS - 3_000_000)
    samples = sorted(_samples(bytes(body.at(NOW_MS))))
    names = series_names()
    wanted = []
    for row in range(200):
        values = (found.duration, found.ok, found.cpu, found.memory, found.disk_io)
        for name, column in zip(SAMPLES, values, strict=True):
            labels = (("__name__", f"call_{name}"), ("server", names[found.series[row]][0]))
            labels += (("tool", names[found.series[row]][1]),)
            wanted.append((labels, float(column[row]), int(NOW_MS - found.age_ms[row])))
    assert samples == sorted(wanted)


@pytest.mark.parametrize("name", ["json", "influx", "prometheus"])
def test_a_text_body_keeps_its_size_and_gets_times_of_the_last_two_seconds(name: str) -> None:
    body = FORMATS[name].make(columns(50, 2))
    sizes = {len(body.at(NOW_MS)), len(body.at(NOW_MS + 60_000))}
    assert len(sizes) == 1
    text = bytes(body.at(NOW_MS)).decode()
    if name == "json":
        lines = [json.loads(line) for line in text.splitlines()]
        assert sum(len(line["values"]) for line in lines) == 50 * len(SAMPLES)
        times = [time for line in lines for time in line["timestamps"]]
    else:
        times = [int(line.rsplit(" ", 1)[1]) for line in text.splitlines()]
        assert len(times) == 50 * (1 if name == "influx" else len(SAMPLES))
    assert all(NOW_MS - 2 * SPREAD_MS <= time <= NOW_MS for time in times)


def _samples(body: bytes) -> list[tuple[tuple[tuple[str, str], ...], float, int]]:
    """The samples of a remote-write body, read with a decoder of their own."""
    size, at = _varint(body, 0)
    assert body[at] == 63 << 2
    assert int.from_bytes(body[at + 1 : at + 5], "little") + 1 == size == len(body) - at - 5
    found = []
    for _, series in _fields(body[at + 5 :]):
        labels, points = [], []
        for field, content in _fields(series):
            if field == 1:
                labels.append(tuple(text.decode() for _, text in _fields(content)))
            else:
                value = float(np.frombuffer(content[1:9], "<f8")[0])
                points.append((value, _varint(content, 10)[0]))
        found += [(tuple(labels), *point) for point in points]
    return found


def _fields(body: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(body):
        field = body[at] >> 3
        size, at = _varint(body, at + 1)
        found.append((field, body[at : at + size]))
        at += size
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if body[at - 1] < 0x80:
            return value, at
