"""Convolutions in float32 by the native core, for the encoder's search: the bits that NumPy gives,
in less time."""

from __future__ import annotations

import ctypes

import numpy as np

from . import ISAS, chosen, library

REACH = 5  # of a blur, each way; floats.h has the same


def depthwise(x: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """x, float32 (h, w, C), by weight, float32 (3, 3, C), zeros outside: float32 like x. None where
    NumPy is to work. Raises UnsupportedError, see `chosen`."""
    isa = chosen()
    if isa is None or x.dtype != np.float32 or weight.dtype != np.float32:
        return None
    x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
    out = np.empty_like(x)
    _call("aei_depthwise", isa, x, weight, *x.shape, out)
    return out


def blur(
    x: np.ndarray, taps: np.ndarray, down: np.ndarray, right: np.ndarray, back: bool
) -> np.ndarray | None:
    """x, float32 (h, w), by taps, float32 (REACH + 1,), of the middle and of both sides; down, (h,)
    and right, (w,), float32: what the result is divided by. back: the transpose of that. None where
    NumPy is to work. Raises UnsupportedError, see `chosen`."""
    isa = chosen()
    if isa is None or len(taps) != REACH + 1:
        return None
    given = [np.ascontiguousarray(a, np.float32) for a in (x, taps, down, right)]
    out = np.empty(x.shape, np.float32)
    _call("aei_blur", isa, *given, *x.shape, ctypes.c_int(back), out)
    return out


def _call(name: str, isa: str, *arguments: np.ndarray | int | ctypes.c_int) -> None:
    """Arrays go as pointers, numbers as int64."""
    loaded = library()
    assert loaded is not None  # `chosen` has looked
    passed = (
        ctypes.c_void_p(a.ctypes.data)
        if isinstance(a, np.ndarray)
        else a
        if isinstance(a, ctypes.c_int)
        else ctypes.c_int64(a)
        for a in arguments
    )
    status = getattr(loaded, name)(ctypes.c_int(ISAS.index(isa)), *passed)
    if status:
        raise MemoryError
