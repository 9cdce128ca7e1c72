"""What `perfmon bench detection` runs, part by part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.detection import nab, null, simulated, speed
from bench.figures import Result
from bench.options import Options

#: Parts by the word that `--only` names them by.
PARTS: Final[dict[str, Callable[[Options], list[Result]]]] = {
    "simulated": simulated.run,
    "nab": nab.run,
    "null": null.run,
    "speed": speed.run,
}


def run(options: Options) -> list[Result]:
    """The tables of the parts that were asked for."""
    return [result for name, part in PARTS.items() if options.wants(name) for result in part(options)]
