"""Ways to damage a file: bits that flip, a tail of NULs, a cut."""

from __future__ import annotations

import os
import random
from pathlib import Path


def flip_bits(path: Path, rng: random.Random, bits: int = 1) -> list[int]:
    """Flip random bits of a file; the bytes that changed."""
    content = bytearray(path.read_bytes())
    places = [rng.randrange(len(content)) for _ in range(bits)] if content else []
    for place in places:
        content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return places


def nul_tail(path: Path, rng: random.Random) -> int:
    """What was written last became NULs, as some file systems leave it; from which byte on."""
    size = path.stat().st_size
    start = max(0, size - rng.choice([1, 7, 100, 512, 4_096]))
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\0" * (size - start))
    return start


def nuls_behind(path: Path, rng: random.Random) -> int:
    """The file grew without its data; from which byte on."""
    size = path.stat().st_size
    os.truncate(path, size + rng.choice([1, 511, 4_096]))
    return size
