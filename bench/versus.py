"""Other systems that take the same metrics in the same run, and the ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from bench.figures import Result
from bench.options import Options

PEERS: Final[dict[str, str]] = {}


class NotInstalled(RuntimeError):
    """A system that was asked for is not there."""


class Peer(Protocol):
    """A system to compare with."""

    name: str

    def measure(self, rows: int, shape: str, options: Options) -> None:
        """One run."""


def peers(options: Options) -> list[Peer]:
    return []


def ratios(against: Sequence[Peer], ours: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Result]:
    return []
