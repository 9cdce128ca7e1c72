"""What a chaos case showed, kept for docs/reliability.md: one JSON file a case.

Record before asserting, so that a case that fails shows in the table too. `report` renders the files.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

#: Where the records go, instead of `.chaos/` in the checkout.
DIRECTORY_VARIABLE = "CHAOS_RECORDS"
CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Record:
    """One case. `case` is `group/name`; `kills` are processes killed, `runs` are times that the whole case was played."""

    case: str
    does: str
    runs: int
    kills: int
    acknowledged: int
    lost: int
    doubled: int
    unparsable: int
    worst_back_s: float | None
    note: str

    @property
    def group(self) -> str:
        return self.case.partition("/")[0]

    @property
    def name(self) -> str:
        return self.case.partition("/")[2] or self.case


def record(
    case: str,
    *,
    does: str = "",
    runs: int = 1,
    kills: int = 0,
    acknowledged: int,
    lost: int,
    doubled: int,
    unparsable: int,
    worst_back_s: float | None = None,
    note: str = "",
) -> None:
    """Keep the figures of a case; those of an earlier run of it are replaced.

    `case`: `group/name`, such as `fault/disk full` (the groups are listed in `report`). `does`: one sentence. `acknowledged`:
    metrics; `lost`, `doubled`, `unparsable`: what the checker found in the files. `worst_back_s`: the longest that a killed
    process took to answer again, None where that was not looked at.
    """
    kept = Record(case, does, runs, kills, acknowledged, lost, doubled, unparsable, worst_back_s, note)
    folder = directory()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^a-z0-9]+', '-', case.lower()).strip('-')}.json"
    path.write_text(json.dumps(asdict(kept), indent=2) + "\n")


def records() -> list[Record]:
    """Every record there is, by case."""
    names = [field.name for field in fields(Record)]
    found = (json.loads(path.read_text()) for path in directory().glob("*.json"))
    return sorted((Record(*(one[name] for name in names)) for one in found), key=lambda kept: kept.case)


def directory() -> Path:
    """Where the records are."""
    return Path(os.environ.get(DIRECTORY_VARIABLE) or CHECKOUT / ".chaos")
