"""Bounds of a model's sums: what its weights say, row by row."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np

from . import chosen, library


class Rows(NamedTuple):
    """Of the rows of int16 weights, int64 (rows,) each: the sums of what is above zero, and of what
    is below."""

    up: np.ndarray
    down: np.ndarray

    @property
    def magnitudes(self) -> np.ndarray:
        return self.up - self.down


def rows_of(weight: np.ndarray) -> Rows:
    """The rows of int16 weights (rows, ...)."""
    loaded = None if chosen() is None else library()
    flat = weight.reshape(len(weight), -1)
    if loaded is None:
        wide = flat.astype(np.int64)
        return Rows(np.maximum(wide, 0).sum(1), np.minimum(wide, 0).sum(1))
    flat = np.require(flat, np.int16, ("C", "A"))
    up, down = np.empty((2, len(flat)), np.int64)
    loaded.aei_row_sums(
        *(ctypes.c_void_p(flat.ctypes.data), *map(ctypes.c_int64, flat.shape)),
        *(ctypes.c_void_p(up.ctypes.data), ctypes.c_void_p(down.ctypes.data)),
    )
    return Rows(up, down)


def put_panels(weight: np.ndarray, out: np.ndarray) -> None:
    """int16 (D, K) as kernels read them, to out, uint8: (panels, pairs, PANEL, 2) int16."""
    loaded = library()
    assert loaded is not None  # blocks are made for it
    weight = np.require(weight, np.int16, ("C", "A"))
    loaded.aei_panels(
        ctypes.c_void_p(weight.ctypes.data), *(ctypes.c_int64(n) for n in weight.shape),
        ctypes.c_void_p(out.ctypes.data),
    )  # fmt: skip
