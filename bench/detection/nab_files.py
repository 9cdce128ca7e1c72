"""Reads a folder as the Numenta Anomaly Benchmark lays it out: data/FAMILY/NAME.csv and labels/combined_windows.json.

The data are the user's: none come with the product.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LABELS = Path("labels") / "combined_windows.json"


class BadFolder(ValueError):
    """A folder that is not laid out so, or a file that cannot be read."""


@dataclass(frozen=True, slots=True)
class Labels:
    """One file. name: FAMILY/NAME.csv; t: epoch seconds; windows: first and last stamp of each, in order of time."""

    name: str
    stamps: NDArray[np.datetime64]
    t: NDArray[np.float64]
    values: NDArray[np.float64]
    windows: list[tuple[np.datetime64, np.datetime64]]

    @property
    def family(self) -> str:
        """The folder it lies in."""
        return self.name.split("/", maxsplit=1)[0]


def read_folder(folder: Path) -> list[Labels]:
    """All labelled files, by name.

    Raises: BadFolder.
    """
    try:
        windows = json.loads((folder / LABELS).read_text())
        if not windows:
            raise ValueError("no file is labelled")
        return [_read(folder / "data" / name, name, windows[name]) for name in sorted(windows)]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BadFolder(f"{folder} is not laid out as data/FAMILY/NAME.csv with {LABELS}: {error}") from error


def _read(path: Path, name: str, windows: list[list[str]]) -> Labels:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    stamps = _stamps([row[0] for row in rows])
    values = np.array([float(row[1]) for row in rows])
    bounds = [(first, last) for first, last in (_stamps(window) for window in windows)]
    return Labels(name, stamps, stamps.astype(np.int64) / 1e6, values, bounds)


def _stamps(texts: list[str]) -> NDArray[np.datetime64]:
    return np.array([text.replace(" ", "T") for text in texts], "datetime64[us]")
