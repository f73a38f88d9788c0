"""How much an error shows in each channel of the latents: a table of a bundle, for encoders alone.

Int8 (N, M): for N evenly spaced gain indexes, logarithms to base 2 in steps of 1 / 8. Arithmetic is
that of integers, and of a few powers of two, so that every machine has the same numbers.
"""

from __future__ import annotations

import numpy as np

from ..settings import GAIN_LEVELS

CHANNEL_WORTH = "channel_worth"  # the array, and its file
STEPS = 8  # of the table, to a factor of two
FINER = 2  # as fine are the steps between its rows


def row_of(table: np.ndarray, gain_index: int) -> np.ndarray:
    """float32 (M,), at a gain index, between the table's rows."""
    top = GAIN_LEVELS - 1
    low = min(gain_index * (len(table) - 1) // top, len(table) - 2)
    beyond = gain_index * (len(table) - 1) - low * top
    rows = table[low : low + 2].astype(np.int64)
    total = rows[0] * (top - beyond) + rows[1] * beyond
    nearest = (2 * FINER * total + top) // (2 * top)
    return np.exp2(nearest / (STEPS * FINER)).astype(np.float32)


def steps_of(worth: np.ndarray) -> np.ndarray:
    """A table of positive numbers (N, M) as int8."""
    return np.clip(np.rint(STEPS * np.log2(worth)), -127, 127).astype(np.int8)
