"""`perfmon bench` and `python -m bench`: which benchmarks run, and what becomes of their figures."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from bench import history, thresholds
from bench.child import GeneratorFailed
from bench.detection.nab_files import BadFolder
from bench.disk import NoRoom
from bench.figures import Result, show, write
from bench.machine import MEMORY_FILE_SYSTEMS, file_system, machine
from bench.options import BATCH, BATCHES, QUICK_SECONDS, Options
from bench.versus import PEERS, NotInstalled
from perfmon.pipeline import PipelineError
from perfmon.rpc import RpcError

#: Every benchmark with what it measures; its module has the same name with underscores.
NAMES: Final = {
    "ingest": "metrics a second until everywhere, cost by process, disk, memory",
    "stages": "the cost a metric of each stage, in one process",
    "ingest-latency": "how long a message waits for its acknowledgement at a fixed rate",
    "survival": "kill -9 right after the last acknowledgement: what is found again",
    "producer": "what a call costs the program that records it",
    "latency": "one metric, one tool call: how long a caller waits",
    "footprint": "memory and CPU of an idle pipeline",
    "startup": "how long until it answers",
    "detection": "faults found, false alarms, their delay; the detector's speed",
}
#: Benchmarks whose `run` takes all options; the others' takes the number of runs alone.
_WITH_OPTIONS: Final = frozenset({"ingest", "stages", "ingest-latency", "survival", "detection"})
#: Exit codes: a figure failed its threshold, or a benchmark could not be run; a word on the command line was wrong.
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
EXIT_TERMINATED: Final = 128 + signal.SIGTERM


def main(words: Sequence[str] | None = None, *, program: str = "python -m bench") -> int:
    """Run the named benchmarks, or all; the exit code."""
    words = sys.argv[1:] if words is None else words
    parser = _parser(program)
    asked = parser.parse_args(words)
    options = _options(parser, asked)
    names = _names(parser, asked.names)
    _choose_place(asked.dir)
    # A pipeline that was started must be stopped, however we are ended.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    try:
        results, failed = _run_all(names, options, program)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    return _settle(results, asked, words) or failed


def _run_all(names: Sequence[str], options: Options, program: str) -> tuple[list[Result], int]:
    """What could be measured, and the exit code; a benchmark that fails does not take the others' figures with it."""
    results, failed = list[Result](), 0
    for name in names:
        try:
            results += _run(name, options)
        except (NotInstalled, NoRoom, GeneratorFailed, PipelineError, RpcError, TimeoutError, BadFolder) as error:
            sys.stderr.write(f"{program}: {name}: {error}\n")
            failed = EXIT_FAILED
    return results, failed


def _run(name: str, options: Options) -> list[Result]:
    run: Callable[[Any], Result | list[Result]] = import_module(_module(name)).run
    found = run(options if name in _WITH_OPTIONS else options.runs)
    results = found if isinstance(found, list) else [found]
    for result in results:
        show(result)
    return results


def _settle(results: Sequence[Result], asked: argparse.Namespace, words: Sequence[str]) -> int:
    """Compare, keep, judge."""
    folder = asked.history or history.default_folder()
    if asked.compare:
        history.show(history.changes(results, history.earlier(folder, machine()["id"])))
    if asked.json:
        write(results, asked.json)
    if results and (asked.history or not asked.quick):
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        print(f"kept in {history.append(history.record(results, now, words), folder)}")
    if not asked.check:
        return 0
    verdicts = thresholds.judge(results, thresholds.load(asked.thresholds))
    thresholds.show(verdicts)
    return EXIT_FAILED if any(one.verdict == thresholds.FAILED for one in verdicts) else 0


def _parser(program: str) -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:15} {what}" for name, what in NAMES.items())
    parser = argparse.ArgumentParser(
        prog=program,
        description="Measure the performance monitor on this machine, each time with a pipeline and a data directory of its own.",
        epilog=f"benchmarks:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="benchmarks to run (default: all)")
    add("--runs", type=int, metavar="N", help="runs of each, of which medians are shown (default: 5)")
    add("--seconds", type=float, metavar="S", help="sustained load of a run (default: 30)")
    add("--batch", type=_counts, metavar="N[,N…]", help="metrics a message (default: 10000; ingest-latency: 500,5000)")
    add("--rate", type=float, default=500_000.0, metavar="N", help="metrics/s of the fixed-rate load (default: 500000)")
    add("--window-mb", type=float, default=4.0, metavar="MB", help="bytes sent and not yet acknowledged (default: 4)")
    add("--only", action="append", default=[], metavar="WORD", help="only the modes whose name holds the word; repeat")
    add("--vs", action="append", default=[], metavar="SYSTEM", help=f"measure it in turn with ours: {', '.join(PEERS)}")
    add("--dir", type=Path, metavar="DIR", help="where data directories are made (default: the temporary directory)")
    add(
        "--nab",
        type=Path,
        metavar="DIR",
        help="score detection on labelled series: DIR/data, DIR/labels, as NAB has them",
    )
    add("--json", type=Path, metavar="FILE", help="write the figures and the machine to a file")
    add("--history", type=Path, metavar="DIR", help=f"where runs are kept (default: {history.default_folder()})")
    add("--compare", action="store_true", help="compare with the last run of this machine")
    add("--check", action="store_true", help="exit 1 when a figure fails its threshold")
    add("--thresholds", type=Path, default=thresholds.FILE, metavar="FILE", help="the limits (default: those shipped)")
    add("--quick", action="store_true", help="one short run of each, to see that all works; not kept")
    return parser


def _options(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> Options:
    runs = asked.runs if asked.runs is not None else 1 if asked.quick else 5
    seconds = asked.seconds if asked.seconds is not None else QUICK_SECONDS if asked.quick else 30.0
    if runs < 1 or seconds <= 0 or asked.rate <= 0 or asked.window_mb <= 0:
        parser.error("--runs is at least 1; --seconds, --rate and --window-mb are above 0")
    unknown = [system for system in asked.vs if system not in PEERS]
    if unknown:
        parser.error(f"--vs {unknown[0]} is unknown: choose from {', '.join(PEERS)}")
    batches = asked.batch or ()
    return Options(
        runs=runs,
        seconds=seconds,
        batch=batches[0] if batches else BATCH,
        batches=batches or BATCHES,
        rate=asked.rate,
        only=tuple(asked.only),
        versus=tuple(dict.fromkeys(asked.vs)),
        window_bytes=int(asked.window_mb * 2**20),
        quick=asked.quick,
        nab=asked.nab,
    )


def _names(parser: argparse.ArgumentParser, asked: Sequence[str]) -> list[str]:
    there = [name for name in NAMES if find_spec(_module(name)) is not None]
    unknown = [name for name in asked if name not in there]
    if unknown:
        parser.error(f"{unknown[0]!r} is no benchmark: choose from {', '.join(there)}")
    return list(dict.fromkeys(asked)) or there


def _module(name: str) -> str:
    return f"bench.{name.replace('-', '_')}"


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(int(word) for word in text.split(","))
    if not all(0 < count <= 100_000 for count in counts):
        raise ValueError("a message has 1 to 100,000 metrics")
    return counts


def _choose_place(folder: Path | None) -> None:
    """Make every temporary directory there; say it when no disk is below."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(folder.resolve())
    place = Path(tempfile.gettempdir())
    if file_system(place.resolve()) in MEMORY_FILE_SYSTEMS:
        sys.stderr.write(f"warning: {place} is kept in memory, nothing is durable there: name a disk with --dir\n")
