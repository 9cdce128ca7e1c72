"""What is in the JSONL files compared with what was acknowledged, over all runs of a case; read with the standard library."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from perfmon.paths import DataDirectory
from tests.chaos.reliability import record


@dataclass(slots=True)
class Verdict:
    """The figures of a case. Rows are told apart by their durations; `look` after every run, `close` at the end."""

    case: str
    does: str
    runs: int = 0
    kills: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unparsable: list[str] = field(default_factory=list)

    def look(
        self,
        data: DataDirectory | Path,
        acknowledged: Collection[float],
        run: object = "",
        *,
        given_up: Collection[float] = (),
    ) -> None:
        """Judge the files after a run. `given_up`: rows that the fault itself took from every medium, which may be gone."""
        found, torn = durations_found(data)
        self.runs += 1
        self.acknowledged += len(acknowledged)
        lost = set(acknowledged) - set(given_up) - set(found)
        doubled = [value for value, count in found.items() if count > 1]
        self.lost += [f"{run}: {value}" for value in sorted(lost)]
        self.doubled += [f"{run}: {value}" for value in sorted(doubled)]
        self.unparsable += [f"{run}: {line}" for line in torn]

    def close(self, note: str = "", *, worst_back_s: float | None = None) -> None:
        """Record the figures, then fail if there is anything to fail for."""
        record(
            self.case,
            does=self.does,
            runs=self.runs,
            kills=self.kills,
            acknowledged=self.acknowledged,
            lost=len(self.lost),
            doubled=len(self.doubled),
            unparsable=len(self.unparsable),
            worst_back_s=worst_back_s,
            note=note,
        )
        assert self.runs, "the case was never played"
        assert not self.lost, f"{len(self.lost)} lost: {self.lost[:10]}"
        assert not self.doubled, f"{len(self.doubled)} doubled: {self.doubled[:10]}"
        assert not self.unparsable, f"{len(self.unparsable)} unparsable: {self.unparsable[:10]}"


def durations_found(data: DataDirectory | Path) -> tuple[Counter[float], list[str]]:
    """How often each duration stands in the files, and the lines that are not the seed's."""
    root = data.metrics if isinstance(data, DataDirectory) else data
    found: Counter[float] = Counter()
    bad: list[str] = []
    for path in sorted(root.rglob("*.jsonl")):
        text = path.read_bytes()
        *lines, rest = text.split(b"\n")
        bad += [f"{path.name} ends in {rest[:60]!r}"] if rest else []
        for line in lines:
            try:
                found[json.loads(line)["duration"]] += 1
            except (ValueError, TypeError, KeyError):
                bad.append(f"{path.name}: {line[:60]!r}")
    return found, bad
