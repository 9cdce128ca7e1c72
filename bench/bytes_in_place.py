"""Overwrite numbers at any places of a bytearray, all at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def at_every_byte(buffer: bytearray, dtype: str) -> NDArray[Any]:
    """The buffer as numbers of a type, one beginning at every byte: they overlap. Indexed by a byte's place."""
    size = np.dtype(dtype).itemsize
    return np.ndarray((len(buffer) - size + 1,), dtype, buffer, strides=(1,))
