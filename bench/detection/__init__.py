"""`perfmon bench detection`: how good and how fast the detector is.

Its parts are modules of this package that have a `run(options)`; they are imported when they run, for they compile kernels.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench.figures import Result
    from bench.options import Options

#: Parts by the word that `--only` names them by.
PARTS: Final = ("simulated", "nab", "null", "error_rates", "causes", "speed", "answers")


def run(options: Options) -> list[Result]:
    """The tables of the parts that were asked for."""
    wanted = [name for name in PARTS if options.wants(name)]
    return [result for name in wanted for result in import_module(f"bench.detection.{name}").run(options)]
