"""The range coder in plain Python integers: the reference, and the coder where constriction has no
wheel.

A range coder after Martin (1979) in the arrangement of constriction's `stream.queue`: `low` and
`width` have 64 bits, 32-bit words leave whenever `width` falls below 2^32, probabilities have 24
bits.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from ....formats import DamagedFileError
from .tables import PRECISION, Table

MASK = (1 << 64) - 1


def shortest_bytes(low: int, width: int, size: int) -> bytes:
    """The shortest byte string whose value, with zeros after it, lies in [low, low + width).

    low: an integer of `size` bytes, big-endian; the result has no trailing zero byte.
    """
    value = low
    for dropped in range(1, 9):
        unit = 1 << (8 * dropped)
        rounded = (low + unit - 1) // unit * unit
        if rounded >= low + width:
            break
        value = rounded
    if value >> (8 * size):  # only if low + width reaches past the last value: cannot happen
        raise AssertionError("range coder interval out of range")
    return value.to_bytes(size, "big").rstrip(b"\0")


class PlainEncoder:
    """Encodes arrays of symbols one table at a time; `finish` gives the bytes."""

    def __init__(self) -> None:
        self._low = 0
        self._width = MASK
        self._words: list[int] = []

    def encode(self, symbols: np.ndarray, table: Table) -> None:
        """symbols: integer array (n,), each in 0..len(table) - 1."""
        cumulative = table.cumulative
        low, width, words = self._low, self._width, self._words
        for symbol in symbols.tolist():
            left = cumulative[symbol]
            scale = width >> PRECISION
            low += scale * left
            width = scale * (cumulative[symbol + 1] - left)
            if low > MASK:  # carry into the words already written
                low &= MASK
                i = len(words) - 1
                while words[i] == 0xFFFFFFFF:
                    words[i] = 0
                    i -= 1
                words[i] += 1
            if width < 1 << 32:
                words.append(low >> 32)
                low = low << 32 & MASK
                width <<= 32
        self._low, self._width = low, width

    def finish(self) -> bytes:
        """The shortest bytes that decode to what was encoded."""
        head = b"".join(word.to_bytes(4, "big") for word in self._words)
        low = int.from_bytes(head, "big") << 64 | self._low
        return shortest_bytes(low, self._width, len(head) + 8)


class PlainDecoder:
    """Decodes what PlainEncoder or constriction wrote; zeros follow the end of the data."""

    def __init__(self, data: bytes):
        self._data = data
        self._offset = 8
        self._low = 0
        self._width = MASK
        self._point = int.from_bytes(data[:8].ljust(8, b"\0"), "big")

    def decode(self, count: int, table: Table) -> np.ndarray:
        """int32 (count,). Raises DamagedFileError where no symbol fits."""
        cumulative = table.cumulative
        low, width, point = self._low, self._width, self._point
        out = np.empty(count, np.int32)
        for i in range(count):
            scale = width >> PRECISION
            quantile = ((point - low) & MASK) // scale
            if quantile >> PRECISION:
                raise DamagedFileError("the image data does not decode")
            symbol = bisect_right(cumulative, quantile) - 1
            out[i] = symbol
            left = cumulative[symbol]
            low = low + scale * left & MASK
            width = scale * (cumulative[symbol + 1] - left)
            if width < 1 << 32:
                word = self._data[self._offset : self._offset + 4].ljust(4, b"\0")
                self._offset += 4
                low = low << 32 & MASK
                width <<= 32
                point = point << 32 & MASK | int.from_bytes(word, "big")
        self._low, self._width, self._point = low, width, point
        return out
