"""Metrics a second, sustained: sent, fsynced and acknowledged, then everywhere: JSONL complete, every consumer caught up.

After a warm-up that is drained, a generator process sends as fast as it is acknowledged, and the clock stops when detector,
alerter and aggregator stand at the head and the JSONL is complete. Then the lines and the rollups are counted. Besides: what
each process costs a metric, what is written, what the disk alone can, and how much memory each took.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Final

import psutil

from bench.child import Child
from bench.disk import check_room, sequential_mb_s
from bench.figures import Result
from bench.generator import Config
from bench.load import SERVERS, TOOLS
from bench.options import Options
from bench.processes import ON_THE_WAY, PeakMemory, Pipeline, cpu_s
from bench.running import metric_files, pipeline, rolled_up, stats, wait_caught_up
from bench.versus import Peer, peers, ratios
from perfmon.paths import CONSUMERS, DataDirectory

#: JSONL, journal and a probe of the disk of the same size, in bytes a metric, with room to spare.
ROOM_BYTES: Final = 500
#: Metrics of all frames of a ring together: enough that no cache holds what is sent.
RING_METRICS: Final = 200_000
#: Frames of a ring at the least and at the most.
RING_FRAMES: Final = (20, 2_000)


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to send. likely_per_s: for the room that a run needs, before it is known."""

    what: str
    shape: str
    rows: int
    likely_per_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of one run, by table."""

    speed: dict[str, float]
    cost: dict[str, float]
    disk: dict[str, float]
    memory: dict[str, dict[str, float]]


def run(options: Options) -> list[Result]:
    """Full metrics over 196 series in every mode that was asked for, in turn with the systems to compare with."""
    chosen = [mode for mode in modes(options.batch) if options.wants(mode.what)]
    likely_per_s = max([mode.likely_per_s for mode in chosen], default=0.0)
    check_room(int(ROOM_BYTES * likely_per_s * (options.seconds + options.warm_up_s)))
    found: dict[Mode, list[Run]] = {mode: [] for mode in chosen}
    against: list[Peer] = peers(options)
    for _ in range(options.runs):
        for mode in chosen:
            found[mode].append(_once(mode, options))
        for rows in dict.fromkeys(mode.rows for mode in chosen):
            for peer in against:
                peer.measure(rows, options)
    tables = _tables(options)
    for mode, made in found.items():
        tables["speed"].add_runs(mode.what, [one.speed for one in made])
        tables["cost"].add_runs(mode.what, [one.cost for one in made])
        tables["disk"].add_runs(mode.what, [one.disk for one in made])
        for process in made[0].memory:
            tables["memory"].add_runs(f"{mode.what}: {process}", [one.memory[process] for one in made])
    speeds = {
        (mode.what, mode.rows): [one.speed | {"ns": one.cost["pipeline"]} for one in made]
        for mode, made in found.items()
    }
    return [*tables.values(), *ratios(against, speeds, options.runs)]


def modes(batch: int) -> Iterator[Mode]:
    """Every way to send."""
    yield Mode(f"batches of {batch:,}", "batch", batch, 1_200_000)
    if batch != 500:
        yield Mode("batches of 500", "batch", 500, 1_200_000)
    yield Mode("rows, 500 a message", "rows", 500, 600_000)
    yield Mode("single metrics", "rows", 1, 60_000)


def _once(mode: Mode, options: Options) -> Run:
    with pipeline() as data:
        found = _load(data, mode, options)
    # The load's own files are gone by now, so that the disk has the same room and nothing left to write back.
    alone_mb_s = sequential_mb_s(int(found.disk["written MB"] * 1e6))
    disk = found.disk | {"disk alone MB/s": alone_mb_s}
    disk["disk's limit/s"] = alone_mb_s * 1e6 / disk["B a metric, all"]
    return Run(found.speed, found.cost, disk, found.memory)


def _load(data: DataDirectory, mode: Mode, options: Options) -> Run:
    ring = min(max(RING_METRICS // mode.rows, RING_FRAMES[0]), RING_FRAMES[1])
    config = Config(data.endpoint("ingest.write"), mode.shape, mode.rows, ring, options.window_bytes)
    with Child("bench.generator", asdict(config)) as generator:
        warmed = generator.do("closed", seconds=options.warm_up_s)
        wait_caught_up(data)
        all_of_it = Pipeline(data)
        sender = psutil.Process(generator.pid)
        with PeakMemory(all_of_it.processes | {"generator": sender}) as memory:
            before, written = all_of_it.usage(), all_of_it.written_bytes()
            jsonl, sender_s = metric_files(data).size_bytes, cpu_s(sender)
            sent = generator.do("closed", seconds=options.seconds)
            complete_s = sent["seconds"] + wait_caught_up(data)
            after, sender_s = all_of_it.usage(), cpu_s(sender) - sender_s
            written = (all_of_it.written_bytes() or 0) - (written or 0)
        stored = sent["stored"]
        files = metric_files(data)
        return Run(
            {
                "acked/s": stored / sent["seconds"],
                "complete/s": stored / complete_s,
                "metrics": float(stored),
                "lost": float(warmed["stored"] + stored - files.lines),
                "lost in rollups": float(warmed["stored"] + stored - rolled_up(data)),
                "gaps refilled": float(sum(stats(data, name)["gaps_total"] for name in CONSUMERS)),
                "credit stops": float(stats(data, "ingest")["credit_stops_total"]),
            },
            _cost(before.cpu_s, after.cpu_s, after.busy_s - before.busy_s, sender_s, stored),
            _disk(files.size_bytes - jsonl, written, stored),
            _memory(memory.figures()),
        )


def _cost(
    before: Mapping[str, float], after: Mapping[str, float], busy_s: float, sender_s: float, metrics: float
) -> dict[str, float]:
    """CPU ns a metric by process."""
    # A process that has ended since (a gateway's child) takes the time it had used with it.
    spent = {name: max(0.0, after[name] - before[name]) for name in before}
    pipeline_s = sum(spent.values())
    elsewhere_s = max(0.0, busy_s - pipeline_s - sender_s)
    spent |= {"pipeline": pipeline_s, "generator": sender_s, "elsewhere": elsewhere_s}
    return {name: 1e9 * seconds / metrics for name, seconds in spent.items()}


def _disk(jsonl_bytes: int, written_bytes: int, metrics: float) -> dict[str, float]:
    # Where write calls are not counted, the journal is not known and the JSONL alone is told.
    everything = max(written_bytes, jsonl_bytes)
    return {
        "B a metric, JSONL": jsonl_bytes / metrics,
        "B a metric, journal and rest": (everything - jsonl_bytes) / metrics,
        "B a metric, all": everything / metrics,
        "written MB": everything / 1e6,
    }


def _memory(found: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The processes on a metric's way, and the sum over the whole pipeline."""
    pipeline_mb = {
        kind: sum(figures[kind] for name, figures in found.items() if name != "generator")
        for kind in ("rss_mb", "pss_mb")
    }
    return {name: dict(found[name]) for name in (*ON_THE_WAY, "generator")} | {"whole pipeline": pipeline_mb}


def _tables(options: Options) -> dict[str, Result]:
    load = f"{options.seconds:g} s of full metrics, {SERVERS * TOOLS} series, after {options.warm_up_s:g} s of warm-up"
    window = f"{options.window_bytes / 2**20:g} MiB on their way at most, generator on this machine"
    durable = "acknowledged = fsynced in the journal; complete = also in the JSONL files and in every consumer"
    return {
        "speed": Result("ingest", f"{load}; {window}", durable, options.runs),
        "cost": Result(
            "ingest: CPU ns a metric by process",
            "user and system time from the first message until complete; elsewhere = kernel threads and other programs",
            durable,
            options.runs,
        ),
        "disk": Result(
            "ingest: disk",
            "write calls of ingest; the disk alone: one file of the same size (64 MB to 8 GB), one fdatasync",
            durable,
            options.runs,
        ),
        "memory": Result(
            "ingest: peak memory, MB", "RSS: high-water mark; PSS: looked at every 2 s", durable, options.runs
        ),
    }
