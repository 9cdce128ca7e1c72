"""The places at which a process kills itself: every name of the product that the suite depends on is in this one table.

A place is a call of a named function: before it, after it, or (of writes) in its middle, at the n-th time it is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

#: Whether a call (its arguments) is one that counts.
Counts = Callable[..., bool]

_OFTEN = {"PERFMON_CHECKPOINT_INTERVAL_S": "0.05", "PERFMON_APPEND_INTERVAL_S": "0.05", "PERFMON_SEGMENT_MB": "1"}
#: Several segments go with one checkpoint.
_SELDOM = _OFTEN | {"PERFMON_CHECKPOINT_INTERVAL_S": "1.5"}


@dataclass(frozen=True, slots=True)
class Place:
    """`target`: `module:name` or `module:Class.name`. `moment` "middle" is for os.pwrite and os.write alone: half is written.

    `does` completes "killed …". `times`: at which call to die, one kill each; of calls that raise none counts as "after".
    `environment`: settings that lead there sooner.
    """

    service: str
    target: str
    moment: Literal["before", "after", "middle"]
    does: str
    times: tuple[int, ...]
    counts: Counts = lambda *_, **__: True
    environment: Mapping[str, str] = field(default_factory=dict)


def _below(folder: str) -> Counts:
    """Calls whose first argument is a descriptor of a file in a folder of the data directory."""
    return lambda descriptor, *_: f"/{folder}/" in str(Path(f"/proc/self/fd/{descriptor}").readlink())


def _compiled_write(descriptor: int, *_: Any) -> bool:
    """A write of the view once the compiled formatter is loaded."""
    return "services.ingest.core.line_kernel" in sys.modules and _below("metrics")(descriptor)


def _segment(path: Any, *_: Any, **__: Any) -> bool:
    return Path(path).name.startswith("segment-")


def _existing_segment(path: Path) -> bool:
    return path.exists()


def _metric_name(path: Any, *_: Any, **__: Any) -> bool:
    return str(path).endswith(".jsonl")


def _ingest(target: str, *rest: Any, **named: Any) -> Place:
    return Place("ingest", target, *rest, **named)


def _often(*rest: Any, **named: Any) -> Place:
    return Place("ingest", *rest, environment=_OFTEN, **named)


def _of(service: str, target: str, *rest: Any, **named: Any) -> Place:
    """`target`: in the service's shell, or of the standard library."""
    anywhere = target.startswith(("os:", "pathlib:"))
    return Place(service, target if anywhere else f"services.{service}.shell.{target}", *rest, **named)


_JOURNAL = "shared.journal.writer"
_COMMIT = f"{_JOURNAL}:JournalWriter.commit"
_CHECKPOINT = f"{_JOURNAL}:JournalWriter.checkpoint"
_FORGET_DAY = f"{_JOURNAL}:JournalWriter.forget_day"
_PASS_ON = "services.ingest.shell:Ingest._pass_on"
_VIEW = "services.ingest.view:View"

#: Name → place, of ingest at work.
INGEST: dict[str, Place] = {
    "before a commit": _ingest(
        f"{_JOURNAL}:_Transaction.__exit__", "before", "with all of a transaction done but its COMMIT", (2, 9, 40)
    ),
    "committed, not acknowledged": _ingest(
        _COMMIT, "after", "between the commit and the acknowledgement", (1, 2, 7, 30)
    ),
    "committed, not witnessed": _ingest(
        f"{_JOURNAL}:Witness.note", "before", "between the commit and the note of how far the journal is", (2, 7, 30)
    ),
    "acknowledged, not published": _ingest(
        _PASS_ON, "before", "between the acknowledgement and the stream", (1, 2, 7, 30)
    ),
    "published, not appended": _ingest(_PASS_ON, "after", "with a batch in the stream and in no file", (1, 2, 7, 30)),
    "before an append": _ingest(f"{_VIEW}.append", "before", "before what waits is appended", (1, 2, 9)),
    "in the middle of a write": _ingest(
        "os:pwrite", "middle", "with half of a write in a metric file", (1, 2, 3, 6, 21), _below("metrics")
    ),
    "between two writes": _ingest(
        "os:pwrite", "after", "with a batch in some of its files", (1, 2, 3, 6, 21), _below("metrics")
    ),
    "synced, no checkpoint": _often(
        _CHECKPOINT, "before", "between the sync of the files and the checkpoint", (1, 2, 5)
    ),
    "checkpoint, nothing dropped": _often(
        f"{_JOURNAL}:JournalWriter.drop_before", "before", "between the checkpoint and the drop of segments", (1, 2, 5)
    ),
    "between two dropped segments": _ingest(
        f"{_JOURNAL}:unlink_segment",
        "after",
        "with some of the segments dropped",
        (1, 2, 3),
        _existing_segment,
        _SELDOM,
    ),
    "in the middle of a dropped segment": _ingest(
        "os:unlink", "after", "with a segment dropped and perhaps its companions there", (1, 2, 4), _segment, _SELDOM
    ),
    "rotation, before its first transaction": _often(
        f"{_JOURNAL}:open_database", "after", "with the file of a new segment there and nothing in it", (2, 3)
    ),
    "rotation, before the sync of its name": _often(
        f"{_JOURNAL}:sync_directory", "before", "with a new segment whose name is not synced", (1, 2)
    ),
    "rotation, over": _often(
        f"{_JOURNAL}:JournalWriter._successor", "after", "with a new segment that took nothing yet", (1, 2)
    ),
}

#: Places of the thread that appends under a heavy load.
APPENDING: dict[str, Place] = {
    "in the middle of a write": _ingest(
        "os:pwrite",
        "middle",
        "with half of a write of compiled lines in a metric file",
        (9, 20, 41, 60),
        _compiled_write,
    ),
    "between two writes": _ingest(
        "os:pwrite", "after", "with compiled lines in some of the files", (10, 21, 42, 63), _compiled_write
    ),
    "synced, no checkpoint": _often(
        _CHECKPOINT, "before", "between the sync of the files and the checkpoint", (20, 40)
    ),
}

#: Places on the way back to a whole view: ingest is killed there several times in a row.
RECOVERY: dict[str, Place] = {
    "files not cut": _ingest(
        "services.ingest.tree:MetricTree.cut", "before", "before the files are cut to their registered sizes", (1, 2, 3)
    ),
    "nothing replayed": _ingest(f"{_VIEW}.replay", "before", "with the files cut and nothing replayed", (1,)),
    "in the replay": _ingest(f"{_VIEW}.replay", "after", "with a part replayed", (1, 2, 3, 5)),
    "in a replayed write": _ingest(
        "os:pwrite", "middle", "with half of a replayed write in its file", (1, 2, 3, 4), _below("metrics")
    ),
    "replayed": _ingest(
        "services.ingest.recovery:recover", "after", "with everything replayed and no checkpoint", (1, 1)
    ),
    "before its checkpoint": _ingest(_CHECKPOINT, "before", "before the checkpoint that ends it", (1, 1)),
}

#: Places of the two repairs of a start: files that got shorter, and a journal that is given up.
REFILL: dict[str, Place] = {
    "before a refill": _ingest("services.ingest.salvage:_append", "before", "before a file is refilled", (1, 2)),
    "in a refill": _ingest("os:pwrite", "middle", "with half of what a file lacks written", (1, 2), _below("metrics")),
    "after a refill": _ingest("services.ingest.salvage:_append", "after", "with a file refilled", (1, 1)),
}
GIVEN_UP: dict[str, Place] = {
    "before it is brought over": _ingest(
        "services.ingest.salvage:bring_over", "before", "before what it holds is brought over", (1,)
    ),
    "in what is brought over": _ingest(
        "os:pwrite", "middle", "with half of a write brought over", (1, 2, 7), _below("metrics")
    ),
    "brought over": _ingest("services.ingest.recovery:bring_over", "after", "with everything brought over", (1,)),
    "in a segment set aside": _ingest(
        "pathlib:Path.rename", "after", "with its newest entries set aside and the segment in its place", (1,), _segment
    ),
    "set aside": _ingest(f"{_JOURNAL}:set_aside", "after", "with some of its segments set aside", (1, 1)),
    "a new one": _ingest(
        f"{_JOURNAL}:JournalWriter.start_over", "after", "with a new journal that knows no file", (1,)
    ),
}

#: Places of a request to forget a day.
FORGET: dict[str, Place] = {
    "before it is forgotten": _ingest(_FORGET_DAY, "before", "before the day is forgotten", (1,)),
    "forgotten, not removed": _ingest(_FORGET_DAY, "after", "with the day forgotten and its files there", (1,)),
    "in the middle of removing": _ingest(
        "os:unlink", "after", "with some of the day's files removed", (1, 2, 3), _metric_name
    ),
    "removed, not answered": _ingest(f"{_VIEW}.remove_day", "after", "with the day removed and nobody told", (1,)),
}

#: Places of each consumer: around its save, which holds its place in the journal, and what follows from it.
CONSUMERS: dict[str, Place] = {
    "aggregator: before its save": _of(
        "aggregator", "state:AggregatorState.save", "before", "before it saves", (1, 2, 3)
    ),
    "aggregator: saved, nothing noted": _of(
        "aggregator", "database:RollupDatabase.save", "after", "with its state saved and nothing noted", (1, 2, 3)
    ),
    "aggregator: saved, no file": _of(
        "aggregator", "files:AggregateFiles.write", "before", "between its save and the file of an hour", (1, 1)
    ),
    "aggregator: in a file": _of(
        "aggregator", "pathlib:Path.replace", "before", "with the file of an hour written beside the old one", (1, 1)
    ),
    "aggregator: file, not noted": _of(
        "aggregator", "files:AggregateFiles.write", "after", "with the file of an hour written and not noted", (1, 1)
    ),
    "alerter: before its save": _of("alerter", "state:AlerterState.save", "before", "before it saves", (1, 2, 3)),
    "alerter: saved, not shown": _of(
        "alerter", "state:AlerterState.saved", "before", "between its save and its views", (1, 2, 3)
    ),
    "alerter: in active-alerts.json": _of(
        "alerter", "pathlib:Path.replace", "before", "with active-alerts.json written beside the old one", (1, 2)
    ),
    "alerter: shown, not told": _of(
        "alerter", "state:AlerterState._write_views", "after", "with its views written", (1, 2)
    ),
    "detector: before its save": _of("detector", "state:DetectorState.save", "before", "before it saves", (1, 2)),
    "detector: saved, not written": _of(
        "detector", "state:DetectorState.saved", "before", "between its save and the file of anomalies", (1, 2)
    ),
    "detector: in its file": _of(
        "detector", "os:write", "middle", "with half of its lines in the file of anomalies", (1,), _below("anomalies")
    ),
    "detector: written, not in the index": _of(
        "detector", "files:append_lines", "after", "between the file of anomalies and its index", (1,)
    ),
}

#: Places of a clean-up, which has ingest forget days and then drops minutes of its own.
CLEANUP: dict[str, Place] = {
    "nothing removed": _of("aggregator", "cleanup:Cleanup._raw_days", "before", "before ingest is asked", (1,)),
    "days forgotten": _of(
        "aggregator", "cleanup:Cleanup._raw_days", "after", "with the days forgotten by ingest", (1,)
    ),
    "before the floors": _of(
        "aggregator", "database:RollupDatabase.keep_floors", "before", "before its floors are stored", (1,)
    ),
    "floors raised": _of(
        "aggregator",
        "database:RollupDatabase.keep_floors",
        "after",
        "with the floors stored and every minute there",
        (1,),
    ),
    "some minutes": _of(
        "aggregator", "database:RollupDatabase.forget_minutes", "after", "with some of the minutes removed", (1,)
    ),
}

#: Places of an alert that is resolved: its line in the history.
HISTORY: dict[str, Place] = {
    "alerter: resolved, not archived": _of(
        "alerter", "history:append_lines", "before", "between the end of an alert and its line in the history", (1,)
    ),
    "alerter: in its history": _of(
        "alerter", "os:write", "middle", "with half of a line in the history", (1,), _below("alerts/history")
    ),
    "alerter: archived, not noted": _of(
        "alerter", "history:append_lines", "after", "with a line in the history that is not noted", (1,)
    ),
}
