"""How long a message waits for its acknowledgement: at a fixed rate, and one metric at a time on an idle pipeline.

The schedule is fixed ahead and every wait counts from when its message was due (coordinated omission corrected); consumers and
files do their work meanwhile, as in operation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from bench.child import Child
from bench.disk import check_room
from bench.figures import Result
from bench.generator import Config
from bench.ingest import ROOM_BYTES
from bench.options import Options
from bench.running import metric_files, pipeline, wait_caught_up
from bench.schedule import spread_ms

#: Single metrics a second that leave the pipeline idle in between.
IDLE_PER_S: Final = 100
#: Frames of a ring.
RING: Final = 100


@dataclass(frozen=True, slots=True)
class Rate:
    """So many messages a second of so many metrics."""

    what: str
    shape: str
    rows: int
    per_s: float


def run(options: Options) -> Result:
    """Percentiles of every rate, medians over several runs."""
    check_room(int(ROOM_BYTES * options.rate * (options.seconds + options.warm_up_s)))
    result = Result(
        "ingest-latency",
        f"{options.seconds:g} s at a fixed rate after {options.warm_up_s:g} s of it; waits from when a message was due",
        "acknowledged = fsynced in the journal; lost = not in the JSONL files at the end",
        options.runs,
    )
    rates = [rate for rate in _rates(options) if options.wants(rate.what)]
    found: dict[Rate, list[dict[str, float]]] = {rate: [] for rate in rates}
    for _ in range(options.runs):
        for rate in rates:
            found[rate].append(_once(rate, options))
    for rate, runs in found.items():
        result.add_runs(rate.what, runs)
    return result


def _rates(options: Options) -> list[Rate]:
    steady = [
        Rate(f"{options.rate:,.0f}/s in batches of {rows:,}", "batch", rows, options.rate / rows)
        for rows in options.batches
    ]
    return [Rate("single metrics, idle", "rows", 1, IDLE_PER_S), *steady]


def _once(rate: Rate, options: Options) -> dict[str, float]:
    with pipeline() as data:
        config = Config(data.endpoint("ingest.write"), rate.shape, rate.rows, RING, options.window_bytes)
        with Child("bench.generator", asdict(config)) as generator:
            warmed = generator.do("open", per_s=rate.per_s, seconds=options.warm_up_s)
            sent = generator.do("open", per_s=rate.per_s, seconds=options.seconds)
        behind_s = wait_caught_up(data)
        lost = warmed["stored"] + sent["stored"] - metric_files(data).lines
        spread = spread_ms(sent["waits_s"])
    rates = {"metrics/s": sent["stored"] / sent["seconds"], "consumers behind s": behind_s, "lost": float(lost)}
    return spread | rates
