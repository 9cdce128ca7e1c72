"""`python -m bench ingest|latency|footprint|startup [--runs N] [--json FILE]`."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from bench.figures import show, write

NAMES = ("ingest", "latency", "footprint", "startup")


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, of which medians are shown (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures and the machine to a file")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown or arguments.runs < 1:
        parser.error(f"choose from {', '.join(NAMES)}; --runs is at least 1")
    results = []
    for name in arguments.names or NAMES:
        result = import_module(f"bench.{name}").run(arguments.runs)
        show(result)
        results.append(result)
    if arguments.json:
        write(results, arguments.json)


if __name__ == "__main__":
    main()
