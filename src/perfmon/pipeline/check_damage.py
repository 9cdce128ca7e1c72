"""`perfmon doctor` on files that could not be read and were set aside: what became of what they held, and what to do.

Only looks. The services set them aside when they start (or meet the damage) and go on with what else there is.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from perfmon.paths import DataDirectory
from perfmon.pipeline.report import Check

NAME: Final = "damage"
THRESHOLDS: Final = "thresholds.json"
#: Files that are told of one by one.
MOST_TOLD: Final = 5
#: Newest first; what SQLite keeps beside a database is told with it.
_ASIDE = re.compile(r"(?P<name>.+)\.unusable-[0-9]+")
_BECAME: Final = {
    "alerter.db": (
        "alerts began anew: acknowledgements, what was held back and messages that waited are lost; what is still wrong is "
        "alerted of again"
    ),
    "detector.db": "the detector learned the last day anew from the metric files; older anomalies are in anomalies/ alone",
    "aggregator.db": "minutes were counted anew from the metric files; hours and days are those of aggregates/",
    THRESHOLDS: "the thresholds stayed as they were; the alerter's log (thresholds_file_refused) says what is wrong with it",
}
_SEGMENT: Final = (
    "what could be read of the journal is kept, and the metric files made up for the rest as far as they had it"
)


def check_damage(data: DataDirectory) -> Iterator[Check]:
    """One finding for each file that was set aside, the latest first."""
    found = sorted((path for folder in (data.state, data.journal, data.config) for path in _aside(folder)), key=_age)
    if not found:
        yield Check(NAME, "ok", "no file had to be set aside")
    for path in found[:MOST_TOLD]:
        day = time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(_changed_s(path)))
        what = f"{path.relative_to(data.root)} could not be read (last written {day}): {_became(path)}"
        yield Check(NAME, "warning", what, f"{_advice(path)}; then rm {shlex.quote(str(path))}*")
    if len(found) > MOST_TOLD:
        yield Check(
            NAME, "warning", f"{len(found) - MOST_TOLD} more such files", "look after the disk, then remove them"
        )


def _aside(folder: Path) -> list[Path]:
    if folder.is_symlink():
        return []
    try:
        return [path for path in folder.iterdir() if _ASIDE.fullmatch(path.name)]
    except OSError:
        return []


def _became(path: Path) -> str:
    found = _ASIDE.fullmatch(path.name)
    name = found["name"] if found else path.name
    return _SEGMENT if name.startswith("segment-") else _BECAME.get(name, "it was begun anew")


def _advice(path: Path) -> str:
    if path.name.startswith(THRESHOLDS):
        return f"mend it and copy it to {THRESHOLDS}"
    return "look after the disk, or whatever else wrote there"


def _age(path: Path) -> float:
    return -_changed_s(path)


def _changed_s(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
