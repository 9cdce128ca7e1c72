"""The cost a metric of each stage of a metric's way, one after the other in one process: CPU time of the product's own functions.

What runs here is what the services run, on the same messages as the throughput benchmark sends, without waiting for anything.
A stage that can only be called together with another is told as the difference (grouping: planning less validation; appending:
writing the files less formatting). Publishing is to three subscribers in another process; receiving is not here. The sum is
less than a process costs under load, where cores, caches and the disk are shared.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.figures import Result
from bench.frames import Frame, ring
from bench.listeners import Listeners
from bench.options import Options
from bench.stages_consumers import Consumers
from perfmon.paths import DataDirectory
from perfmon.wire import pack
from perfmon.wire.envelope import PROTOCOL_MAJOR
from perfmon.wire.kinds import Kind
from services.ingest.core.door import let_in
from services.ingest.core.frames import read
from services.ingest.core.ingest import IngestCore, Message, Plan
from services.ingest.view import View
from shared.batch import Batch, concatenate
from shared.journal.writer import JournalWriter, ProducerPlace
from shared.runtime.logs import configure_logging
from shared.settings import Settings
from shared.timespan import HOUR_MS

#: Metrics of one run in each mode, and of a quick run.
METRICS: Final = 1_000_000
QUICK_METRICS: Final = 20_000
#: Bytes of messages in one group commit, as ingest takes them under load.
COMMIT_BYTES: Final = 4 * 2**20
#: Frames of a ring.
RING: Final = 40
#: Stages that are called together with another, which is taken off: the name it gets.
_LESS: Final = {"group and place": "validate", "append": "format"}


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to send."""

    what: str
    shape: str
    rows: int


class Meter:
    """CPU seconds of this process by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.seconds[stage] += time.process_time() - started


def run(options: Options) -> list[Result]:
    """CPU ns a metric of every stage, and CPU ms of saving each consumer's state, in every mode; medians over several runs."""
    configure_logging("bench", "error")
    metrics = QUICK_METRICS if options.quick else METRICS
    result = Result(
        "stages",
        f"CPU ns a metric, {metrics:,} full metrics in one process; commits of about {COMMIT_BYTES / 2**20:g} MiB",
        "journal: fsynced by every commit; append: written, not synced",
        options.runs,
        notes=["every consumer decodes for itself: that stage counts three times"],
    )
    modes = (
        Mode(f"batches of {options.batch:,}", "batch", options.batch),
        Mode("batches of 500", "batch", 500),
        Mode("rows of 500", "rows", 500),
    )
    saving = Result("stages: saving", f"CPU ms of saving the state after {metrics:,} metrics", "fsynced", options.runs)
    chosen = [mode for mode in modes if options.wants(mode.what)]
    found = {mode.what: [_once(mode, metrics) for _ in range(options.runs)] for mode in chosen}
    for place, table in enumerate((result, saving)):
        for stage in dict.fromkeys(stage for runs in found.values() for stage in runs[0][place]):
            rows = [{what: runs[run][place][stage] for what, runs in found.items()} for run in range(options.runs)]
            table.add_runs(stage, rows)
    return [result, saving]


def _once(mode: Mode, metrics: int) -> tuple[dict[str, float], dict[str, float]]:
    data = DataDirectory(Path(tempfile.mkdtemp(prefix="perfmon-bench-")).resolve())
    data.create()
    try:
        with contextlib.ExitStack() as stack:
            ingest = stack.enter_context(contextlib.closing(IngestStages(data)))
            consumers = stack.enter_context(contextlib.closing(Consumers(data)))
            frames = ring(mode.shape, mode.rows, RING, "bench")
            _pass(ingest, consumers, frames, Meter(), commits=2)  # files, series and kernels are there from now on
            meter = Meter()
            passed = 0
            while passed < metrics:
                passed += _pass(ingest, consumers, frames, meter, commits=1)
            saves = Meter()
            consumers.save(saves)
    finally:
        shutil.rmtree(data.root, ignore_errors=True)
        shutil.rmtree(data.runtime, ignore_errors=True)
    for stage, contained in _LESS.items():
        meter.seconds[stage] = max(0.0, meter.seconds[stage] - meter.seconds[contained])
    return (
        {stage: 1e9 * seconds / passed for stage, seconds in meter.seconds.items()},
        {name: 1e3 * seconds for name, seconds in saves.seconds.items()},
    )


def _pass(ingest: IngestStages, consumers: Consumers, frames: Sequence[Frame], meter: Meter, commits: int) -> int:
    passed = 0
    for _ in range(commits):
        bodies, rows = ingest.commit(frames, meter)
        consumers.apply(bodies, ingest.head, meter)
        passed += rows
    return passed


class IngestStages:
    """What ingest does with the messages of one commit, stage by stage."""

    def __init__(self, data: DataDirectory) -> None:
        settings = Settings.model_validate({})
        self._core = IngestCore(settings)
        self._oldest_ms = settings.raw_retention_hours * HOUR_MS
        self._journal = JournalWriter(data.journal, segment_bytes=settings.segment_mb * 2**20, store_empty=True)
        self._view = View(data.metrics)
        self._view.formatter.compile()
        self._seq = 0
        self._listeners = Listeners(data)

    @property
    def head(self) -> tuple[str, int]:
        """The journal's epoch and last sequence."""
        return self._journal.epoch, self._journal.head

    def commit(self, frames: Sequence[Frame], meter: Meter) -> tuple[list[bytes], int]:
        """Take messages of one commit; the journal entries they became, and how many metrics."""
        now_ms = time.time_ns() // 1_000_000
        raw = self._messages(frames, now_ms)
        with meter("decode"):
            messages = [Message([b"bench"], *read(frame)) for frame in raw]
        with meter("validate"):
            for message in messages:
                let_in(message.kind, message.body, now_ms, now_ms - self._oldest_ms)
        with meter("group and place"):
            plan = self._core.plan(messages, now_ms)
        with meter("encode"):
            bodies = [batch.encode() for batch in plan.entries]
        with meter("journal"):
            self._store(plan, bodies)
        with meter("acknowledge"):
            self._core.committed(plan, *self.head)
        published = list(zip(self._headers(bodies, now_ms), bodies, strict=True))
        with meter("publish"):
            self._listeners.publish(published)
        self._append(plan.entries, meter)
        return bodies, sum(map(len, plan.entries))

    def close(self) -> None:
        """Let go of files and sockets."""
        self._view.close()
        self._journal.close()
        self._listeners.close()

    def _messages(self, frames: Sequence[Frame], now_ms: int) -> list[bytes]:
        count = max(1, COMMIT_BYTES // frames[0].size_bytes)
        first, self._seq = self._seq + 1, self._seq + count
        return [bytes(frames[seq % len(frames)].at(seq, now_ms)) for seq in range(first, first + count)]

    def _store(self, plan: Plan, bodies: Sequence[bytes]) -> None:
        staged = self._core.producers.staged.items()
        places = [ProducerPlace(name, place.seq, place.seen_bytes(), place.at_ms) for name, place in staged]
        self._journal.commit(bodies, plan.now_ms, producers=places)
        self._journal.rotate_if_full()

    def _headers(self, bodies: Sequence[bytes], now_ms: int) -> Iterator[bytes]:
        epoch, head = self.head
        for seq in range(head - len(bodies) + 1, head + 1):
            fields = {"epoch": epoch, "seq": seq, "committedMs": now_ms}
            yield pack({"v": PROTOCOL_MAJOR, "kind": Kind.ENTRY, **fields})

    def _append(self, entries: Sequence[Batch], meter: Meter) -> None:
        joined = concatenate(entries)
        with meter("format"):
            for _ in self._view.formatter.lines_of(joined):
                pass
        registered = self._view.registry.new_of(joined)
        self._view.add(self._journal.head, joined, registered)
        with meter("append"):
            self._view.append()
