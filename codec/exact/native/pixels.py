"""Post-filter and levels by the native core: post_filter.apply and synthesis.to_levels, on the same
arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from . import ISAS, chosen, library

LEAST, MOST = -8192, 8191  # of the pixel units that are filtered


class _PlaneFilter(ctypes.Structure):
    _fields_ = (
        ("knots", ctypes.c_int64), ("radius", ctypes.c_int64), ("shift", ctypes.c_int64),
        ("weights", ctypes.c_void_p),
    )  # fmt: skip


def apply(planes: Sequence, x: np.ndarray) -> np.ndarray | None:
    """Filtered pixel units, int32 (h, w, 3), of int16 or int32 ones; None where NumPy is to work.
    planes: post_filter.PlaneFilter of each plane, or None. Raises UnsupportedError, see
    `chosen`."""
    isa = chosen()
    if isa is None:
        return None
    x = np.ascontiguousarray(x if x.dtype == np.int16 else np.clip(x, LEAST, MOST), np.int16)
    filters = (_PlaneFilter * 3)()
    kept = []  # weights, until the call is over
    for described, plane in zip(filters, planes):
        if plane is not None:
            weights = np.ascontiguousarray(plane.mantissas, np.int8)
            kept.append(weights)
            described.knots, described.radius = len(weights), plane.radius
            described.shift, described.weights = plane.shift, weights.ctypes.data
    out = np.empty(x.shape, np.int32)
    loaded = library()
    assert loaded is not None
    status = loaded.aei_post_filter(
        ctypes.c_int(ISAS.index(isa)), filters, ctypes.c_void_p(x.ctypes.data),
        ctypes.c_int64(x.shape[0]), ctypes.c_int64(x.shape[1]), ctypes.c_void_p(out.ctypes.data),
    )  # fmt: skip
    if status:
        raise MemoryError
    return out


def to_levels(x: np.ndarray) -> np.ndarray | None:
    """Pixel units, int16 or int32, to levels of colour, uint8 of their shape; None where NumPy is
    to work."""
    isa = chosen()
    if isa is None or x.dtype not in (np.int16, np.int32):
        return None
    x = np.ascontiguousarray(x)
    out = np.empty(x.shape, np.uint8)
    loaded = library()
    assert loaded is not None
    loaded.aei_levels(
        ctypes.c_int(ISAS.index(isa)), ctypes.c_void_p(x.ctypes.data), ctypes.c_int64(x.size),
        ctypes.c_int(x.dtype == np.int32), ctypes.c_void_p(out.ctypes.data),
    )  # fmt: skip
    return out
