"""Frequency tables of 24 bits, as both range coders take them."""

from __future__ import annotations

from typing import Any

import numpy as np

PRECISION = 24


class Table:
    """Frequencies of the symbols 0..n-1: int array (n,), each at least 1, sum 2^24."""

    def __init__(self, frequencies: np.ndarray):
        self.frequencies = frequencies
        self._model: Any = None
        self._cumulative: list[int] | None = None

    @property
    def model(self) -> Any:
        """The constriction model with exactly these frequencies.

        `perfect=False` gives symbol i the mass 1 + floor(cumulative difference of p * scale) with
        scale = (2^24 - n) / sum(p); for p = frequency - 1 the scale is 1 and nothing is rounded.
        """
        if self._model is None:
            import constriction

            self._model = constriction.stream.model.Categorical(
                self.frequencies.astype(np.float64) - 1.0, perfect=False
            )
        return self._model

    @property
    def cumulative(self) -> list[int]:
        """Python integers: 0, f0, f0 + f1, ..., 2^24."""
        if self._cumulative is None:
            self._cumulative = [0, *np.cumsum(self.frequencies, dtype=np.int64).tolist()]
        return self._cumulative


def uniform_table(n: int) -> Table:
    """n equally likely symbols, n a power of two."""
    return Table(np.full(n, (1 << PRECISION) // n, np.int64))
