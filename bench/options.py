"""What a run was asked for, as every benchmark that takes it sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Metrics a message of the first mode, and of the fixed-rate loads.
BATCH: Final = 10_000
BATCHES: Final = (500, 5_000)
#: A quick run shows that all works; its figures say little.
QUICK_SECONDS: Final = 1.0
QUICK_WARM_UP_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """runs: of each, of which medians are shown. seconds: of sustained load a run. batch: metrics a message of the first mode.

    rate: metrics/s of the fixed-rate load. only: words one of which a mode's name must hold (none: all modes). versus: systems
    that are measured in turn with ours. window_bytes: sent and not yet acknowledged, within what ingest allows. nab: a folder of
    labelled series, for `detection`.
    """

    runs: int = 5
    seconds: float = 30.0
    batch: int = BATCH
    batches: tuple[int, ...] = BATCHES
    rate: float = 500_000.0
    only: tuple[str, ...] = ()
    versus: tuple[str, ...] = ()
    window_bytes: int = 4 * 2**20
    quick: bool = False
    nab: Path | None = None

    @property
    def warm_up_s(self) -> float:
        """Load before anything is measured: kernels compiled, files open, caches warm."""
        return QUICK_WARM_UP_S if self.quick else 5.0

    def wants(self, mode: str) -> bool:
        """Whether a mode was asked for."""
        return not self.only or any(word in mode for word in self.only)
