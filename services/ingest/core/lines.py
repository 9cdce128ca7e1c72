"""A batch as JSONL lines, the seed's line a call, grouped by file.

Numbers read back exactly: a whole number prints without a point, any other as Python's shortest text that parses to the same
double. What was not measured is null; a call without any measurement has `"resource":null`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from shared.batch import Batch, Series
from shared.timespan import DAY_MS, day_of


class FileLines(NamedTuple):
    """Lines for one file below `metrics/`: the data, how many lines, their first and last timestamp."""

    path: str
    series: Series
    data: bytes
    lines: int
    first_ms: int
    last_ms: int


def file_of(day: int, path: str) -> str:
    """The file of a series' path on a day (epoch days)."""
    return f"{day_of(day * DAY_MS)}/{path}.jsonl"


def files_of(batch: Batch) -> Iterator[tuple[str, Series]]:
    """The files that a placed batch goes to, each with its series."""
    if batch.paths is None or not len(batch):
        return
    days = batch.ts // DAY_MS
    low, high = int(days.min()), int(days.max())
    if low == high:
        for code in np.unique(batch.codes):
            yield file_of(low, batch.paths[code]), batch.dictionary[code]
        return
    for key in np.unique(batch.codes.astype(np.int64) * (high - low + 1) + (days - low)):
        code, day = divmod(int(key), high - low + 1)
        yield file_of(low + day, batch.paths[code]), batch.dictionary[code]


def lines_of(batch: Batch) -> Iterator[FileLines]:
    """The lines of a placed batch, file by file, each file's in the batch's order."""
    if batch.paths is None or not len(batch):
        return
    days = batch.ts // DAY_MS
    low = int(days.min())
    span = int(days.max()) - low + 1
    keys = batch.codes.astype(np.int64) * span + (days - low)
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    starts = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
    for start, end in zip(starts, np.r_[starts[1:], len(order)], strict=True):
        code, day = divmod(int(sorted_keys[start]), span)
        rows = order[start:end]
        ts = batch.ts[rows]
        yield FileLines(
            file_of(low + day, batch.paths[code]),
            batch.dictionary[code],
            _format(batch, batch.dictionary[code], rows),
            len(rows),
            int(ts.min()),
            int(ts.max()),
        )


def _format(batch: Batch, series: Series, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bytes:
    names = f'Z","mcpServer":{_text(series.server)},"toolName":{_text(series.tool)},"duration":'
    stamps = np.datetime_as_string(batch.ts[rows].astype("M8[ms]")).tolist()
    durations = _numbers(batch.duration[rows])
    flags = ("false", "true")
    oks = [flags[flag] for flag in batch.ok[rows].tolist()]
    resources = _resources(batch, rows)
    if not batch.errors and not batch.call_ids:
        return "".join(
            [
                f'{{"timestamp":"{stamp}{names}{duration},"success":{ok},"error":null,"resource":{resource}}}\n'
                for stamp, duration, ok, resource in zip(stamps, durations, oks, resources, strict=True)
            ]
        ).encode()
    lines = []
    for row, stamp, duration, ok, resource in zip(rows.tolist(), stamps, durations, oks, resources, strict=True):
        error = batch.errors.get(row)
        call_id = batch.call_ids.get(row)
        tail = "" if call_id is None else f',"callId":{_text(call_id)}'
        shown = "null" if error is None else _text(error)
        lines.append(
            f'{{"timestamp":"{stamp}{names}{duration},"success":{ok},"error":{shown},"resource":{resource}{tail}}}\n'
        )
    return "".join(lines).encode()


def _resources(batch: Batch, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    columns = []
    for column in (batch.cpu, batch.memory, batch.disk_io):
        columns.append(["null"] * len(rows) if column is None else _numbers(column[rows]))
    return [
        "null" if cpu == memory == disk == "null" else f'{{"cpu":{cpu},"memory":{memory},"diskIO":{disk}}}'
        for cpu, memory, disk in zip(*columns, strict=True)
    ]


def _numbers(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[str]:
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN: not measured
        return "null"
    text = repr(value)
    # 150.0 → 150, but -0.0 stays itself; 1e+22 is JSON as it is.
    return text[:-2] if text.endswith(".0") and text != "-0.0" else text


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
