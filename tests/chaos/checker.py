"""Compare what is stored with what a load had acknowledged, one by one: the JSONL files and their index.

Reads the files with nothing of the product. What the services say of them is `pipeline_checker`'s.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from perfmon.paths import DataDirectory
from tests.chaos.acknowledged_load import Load
from tests.chaos.numbered import OVERFLOW, line_of, number_of, path_of

_decode = msgspec.json.Decoder().decode

#: Findings of one kind that are shown.
SHOWN = 5


@dataclass(slots=True)
class Verdict:
    """What was found, in metrics. `complaints` are sentences for whoever reads a failure, about everything that was compared."""

    acknowledged: int
    lost: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    unparsable: int = 0
    complaints: list[str] = field(default_factory=list)

    def complain(self, what: str, *found: object) -> None:
        self.complaints.append(f"{what}: {', '.join(str(one)[:300] for one in found[:SHOWN])}" if found else what)

    def assert_clean(self) -> None:
        assert not self.complaints, "\n".join(self.complaints)

    def figures(self) -> dict[str, int]:
        """The part of `reliability.record` that is ours."""
        return {
            "acknowledged": self.acknowledged,
            "lost": len(self.lost),
            "doubled": len(self.doubled),
            "unparsable": self.unparsable,
        }


def check_files(
    data: DataDirectory,
    load: Load,
    *,
    gone: Collection[int] = (),
    perhaps_gone: Collection[int] = (),
    may_overflow: bool = False,
) -> Verdict:
    """Acknowledged is stored, each once, as it was sent and where it belongs, and nothing else is.

    `gone`: metrics whose day was forgotten, which must not come back; `perhaps_gone`: those that may be either. The load must be
    settled and ingest must have flushed. `may_overflow`: a metric may lie in `__overflow__` instead of in its own series.
    """
    verdict = Verdict(len(load.acknowledged))
    stored: Counter[int] = Counter()
    for path, line in _lines(data, verdict):
        number = _number(path, line, load, may_overflow, verdict)
        if number:
            stored[number] += 1
    verdict.lost = sorted(load.acknowledged - stored.keys() - set(gone) - set(perhaps_gone))
    verdict.doubled = sorted(number for number, count in stored.items() if count > 1)
    if verdict.lost:
        verdict.complain(f"{len(verdict.lost)} acknowledged metrics are lost", *verdict.lost)
    if verdict.doubled:
        verdict.complain(f"{len(verdict.doubled)} metrics are doubled", *verdict.doubled)
    if back := stored.keys() & set(gone):
        verdict.complain(f"{len(back)} forgotten metrics came back", *sorted(back))
    return verdict


def check_index(data: DataDirectory, verdict: Verdict) -> None:
    """`index/metrics-index.json` counts what the files hold; once ingest has stopped."""
    index = json.loads((data.index / "metrics-index.json").read_text())["index"]
    told = {
        f"{day}/{server}": (one["count"], sorted(one["tools"]), sorted(one["files"]))
        for day, servers in index.items()
        for server, one in servers.items()
    }
    counts: Counter[str] = Counter()
    tools: dict[str, list[str]] = {}
    for path in sorted(data.metrics.glob("*/*/*.jsonl")):
        key = f"{path.parts[-3]}/{path.parts[-2]}"
        counts[key] += path.read_bytes().count(b"\n")
        tools.setdefault(key, []).append(path.stem)
    files = {key: sorted(f"metrics/{key}/{tool}.jsonl" for tool in listed) for key, listed in tools.items()}
    held = {key: (counts[key], sorted(tools[key]), files[key]) for key in tools}
    if told != held:
        verdict.complain("the metrics index does not tell what the files hold", *_differences(told, held))


def _lines(data: DataDirectory, verdict: Verdict) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(data.metrics.rglob("*.jsonl")):
        relative, raw = str(path.relative_to(data.metrics)), path.read_bytes()
        *lines, rest = raw.split(b"\n")
        if rest:
            _bad(verdict, f"{relative} ends in a torn line", rest)
        for line in lines:
            try:
                yield relative, _decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                _bad(verdict, f"{relative} holds a line that is not JSON", line)


def _number(path: str, line: dict[str, Any], load: Load, may_overflow: bool, verdict: Verdict) -> int:
    """The number of a line that is as it was sent; 0 for any other."""
    try:
        number = number_of(line["duration"])
        known = 0 < number <= load.sent_total
        if not known:
            verdict.complain(f"{path} holds a metric that was never sent", line)
            return 0
        ts_ms = load.ts_of(number)
        pairs = [load.pair_of(number), *([OVERFLOW] if may_overflow else [])]
        pair = next(pair for pair in pairs if pair == (line["mcpServer"], line["toolName"]))
        if line == line_of(number, ts_ms, pair) and path == path_of(ts_ms, pair):
            return number
    except (KeyError, TypeError, ValueError, StopIteration):
        pass
    _bad(verdict, f"{path} holds a metric that is not as it was sent", line)
    return 0


def _bad(verdict: Verdict, what: str, line: object) -> None:
    verdict.unparsable += 1
    if verdict.unparsable <= SHOWN:
        verdict.complain(what, line)


def _differences(told: dict[str, Any], held: dict[str, Any]) -> list[str]:
    keys = sorted(key for key in told.keys() | held.keys() if told.get(key) != held.get(key))
    return [f"{key}: told {told.get(key)}, found {held.get(key)}" for key in keys]
