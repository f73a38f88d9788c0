"""A lossless 8-bit plane: a filter per row as in PNG (none, sub, up), then deflate. Holds alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import DamagedFileError
from .sections import deflate, inflate

if TYPE_CHECKING:
    from numpy.typing import NDArray

NONE, SUB, UP = 0, 1, 2


def encode_plane(plane: NDArray[np.uint8]) -> bytes:
    """plane: uint8 (H, W). Per row the filter with the least sum of absolute differences is
    taken."""
    height, width = plane.shape
    above = np.zeros_like(plane)
    above[1:] = plane[:-1]
    left = np.zeros_like(plane)
    left[:, 1:] = plane[:, :-1]
    choices = np.stack([plane, plane - left, plane - above])  # modulo 256
    # bytes as signed numbers, as PNG's heuristic takes them
    sums = np.abs(choices.view(np.int8).astype(np.int32)).sum(axis=2)
    best = sums.argmin(axis=0)
    rows = np.empty((height, width + 1), np.uint8)
    rows[:, 0] = best
    rows[:, 1:] = choices[best, np.arange(height)]
    return deflate(rows.tobytes())


def decode_plane(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """uint8 (height, width). Raises DamagedFileError; never inflates more than the plane needs."""
    raw = inflate(data, height * (width + 1))
    if len(raw) != height * (width + 1):
        raise DamagedFileError("the alpha plane is cut short")
    rows = np.frombuffer(raw, np.uint8).reshape(height, width + 1)
    filters = rows[:, 0]
    if filters.max(initial=0) > UP:
        raise DamagedFileError("the alpha plane uses an unknown filter")
    out = rows[:, 1:].copy()
    sub = filters == SUB
    out[sub] = np.cumsum(out[sub], axis=1, dtype=np.uint8)
    for y in np.flatnonzero(filters == UP):
        if y > 0:
            out[y] += out[y - 1]
    return out
