"""Other systems that take the same metrics in the same run, in turn with ours, and the ratio.

What is compared is said with each row: ours counts when every metric is fsynced, in the JSONL files and in every consumer; the
other when it has answered the last request.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import psutil

from bench import victoria_metrics
from bench.child import Child
from bench.figures import Result
from bench.options import Options
from bench.processes import cpu_s
from bench.vm_generator import Config

#: Systems that can be compared with → the format in which they are sent the metrics; the fastest one by default.
PEERS: Final = {
    "victoria-metrics": "remote-write",
    "victoria-metrics:json": "json",
    "victoria-metrics:influx": "influx",
    "victoria-metrics:prometheus": "prometheus",
}
#: Requests on their way at once: one a core is what it was fastest with on two.
CONNECTIONS: Final = 2
#: Metrics of all bodies together, and bodies of a connection at the least and at the most.
RING_METRICS: Final = 200_000
RING: Final = (5, 500)


class NotInstalled(RuntimeError):
    """A system that was asked for is not there."""


@dataclass(slots=True)
class Peer:
    """VictoriaMetrics with metrics in one format; `runs` has its figures by metrics a message."""

    name: str
    runs: dict[int, list[dict[str, float]]] = field(default_factory=dict)

    def measure(self, rows: int, options: Options) -> None:
        """One run with so many metrics a request."""
        with victoria_metrics.server() as server:
            ring = min(max(RING_METRICS // rows // CONNECTIONS, RING[0]), RING[1])
            config = Config(server.port, PEERS[self.name], rows, ring, CONNECTIONS)
            with Child("bench.vm_generator", asdict(config)) as generator:
                warmed = generator.do("closed", seconds=options.warm_up_s)
                sender, before = psutil.Process(generator.pid), cpu_s(server.usage)
                sender_s = cpu_s(sender)
                sent = generator.do("closed", seconds=options.seconds)
                spent_s, sender_s = cpu_s(server.usage) - before, cpu_s(sender) - sender_s
            expected = warmed["stored"] + sent["stored"]
            held = server.held(expected)
            found = {
                "their accepted/s": sent["stored"] / sent["seconds"],
                "their ns": 1e9 * spent_s / sent["stored"],
                "their generator ns": 1e9 * sender_s / sent["stored"],
                "their B on disk": server.size_bytes() / max(held, 1),
                "not held": float(expected - held),
            }
        self.runs.setdefault(rows, []).append(found)


def peers(options: Options) -> list[Peer]:
    """The systems that were asked for.

    Raises: NotInstalled, with how to install it.
    """
    if options.versus and victoria_metrics.binary() is None:
        raise NotInstalled(f"victoria-metrics is not on the PATH: {victoria_metrics.HOW_TO_INSTALL}")
    return [Peer(name) for name in options.versus]


def ratios(
    against: Sequence[Peer], ours: Mapping[tuple[str, int], Sequence[Mapping[str, float]]], runs: int
) -> list[Result]:
    """A table a system: each of our modes, by (name, metrics a message), with theirs of as many metrics a message."""
    return [_table(peer, ours, runs) for peer in against]


def _table(peer: Peer, ours: Mapping[tuple[str, int], Sequence[Mapping[str, float]]], runs: int) -> Result:
    result = Result(
        f"ingest against {peer.name}",
        f"in turn; {victoria_metrics.version()}; {PEERS[peer.name]}, {CONNECTIONS} connections, 5 samples a metric",
        f"ours: fsynced, in the files, in every consumer; theirs: {victoria_metrics.DURABLE}",
        runs,
    )
    for (mode, rows), made in ours.items():
        theirs = peer.runs[rows]
        together = [
            {
                "ours complete/s": one["complete/s"],
                "their accepted/s": other["their accepted/s"],
                "ratio": one["complete/s"] / other["their accepted/s"],
                "acked ratio": one["acked/s"] / other["their accepted/s"],
                "our ns": one["ns"],
                "CPU ratio": other["their ns"] / max(one["ns"], 1.0),
            }
            | other
            for one, other in zip(made, theirs, strict=True)
        ]
        result.add_runs(mode, together)
    if any(statistics.median(run["not held"] for run in made) for made in peer.runs.values()):
        result.notes.append("not held: accepted, but not found by a query at the end")
    return result
