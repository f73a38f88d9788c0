"""The integer interpreter: runs a prior, which is data (docs/format/specification.md, "The prior"),
exactly.

Every array holds integers in float64. Each product and sum stays below 2^52, which the exporter
proves per layer, so the results are exact whatever the order of summation, thread count, BLAS or
CPU. Images are (rows, columns, channels). Layers run over slabs of rows that fit the processor's
cache.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from math import ldexp

import numpy as np

from ...formats import ModelError

LOW, HIGH = -32768.0, 32767.0  # activations are clamped to int16
KNOWN_CHECKSUM = 0x7F57CF8C
KNOWN_BIAS, KNOWN_SHIFTS = -12345, range(1, 33)
SLAB = 1 << 16  # numbers in a slab: half a megabyte, half the time of whole images


def slabs(rows: int, row_size: int) -> Iterator[slice]:
    """Slices of consecutive rows, about SLAB numbers each."""
    step = max(1, SLAB // max(1, row_size))
    return (slice(top, min(top + step, rows)) for top in range(0, rows, step))


def rescale(a: np.ndarray, shift: int, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """floor((a + bias + 2^(shift-1)) / 2^shift), in place; shift >= 1. Exact: scaling by a power of
    two, and sums whose terms are multiples of 2^-shift and stay below 2^(52 - shift)."""
    unit = ldexp(1.0, -shift)  # a power may be off by a bit where the processor rounds up or down
    np.multiply(a, unit, out=a)
    np.add(a, bias * unit + 0.5, out=a)
    return np.floor(a, out=a)


def clamp(a: np.ndarray) -> np.ndarray:
    """To the range of int16, in place."""
    np.maximum(a, LOW, out=a)
    return np.minimum(a, HIGH, out=a)


def conv1x1(x: np.ndarray, weight: np.ndarray, shift: int, bias: np.ndarray) -> np.ndarray:
    """x: (h, w, C); weight: (C, D); bias: (D,) -> (h, w, D), rescaled and clamped."""
    h, w, c = x.shape
    out = np.empty((h, w, weight.shape[1]))
    for rows in slabs(h, w * max(c, weight.shape[1])):
        part = out[rows].reshape(-1, weight.shape[1])
        np.matmul(x[rows].reshape(-1, c), weight, out=part)
        clamp(rescale(part, shift, bias))
    return out


def depthwise3x3(x: np.ndarray, weight: np.ndarray, shift: int, bias: np.ndarray) -> np.ndarray:
    """x: (h, w, C); weight: (3, 3, C), zeros outside; bias: (C,) -> (h, w, C), rescaled and
    clamped."""
    h, w, c = x.shape
    out = np.empty_like(x)
    product = np.empty_like(x[next(slabs(h, w * c))])
    for rows in slabs(h, w * c):
        top, bottom = rows.start, rows.stop
        padded = np.zeros((bottom - top + 2, w + 2, c))
        inside = slice(max(top - 1, 0), min(bottom + 1, h))
        padded[inside.start - top + 1 : inside.stop - top + 1, 1:-1] = x[inside]
        part, term = out[rows], product[: bottom - top]
        np.multiply(x[rows], weight[1, 1], out=part)
        for i in range(3):
            for j in range(3):
                if (i, j) != (1, 1):
                    np.multiply(padded[i : i + bottom - top, j : j + w], weight[i, j], out=term)
                    part += term
        clamp(rescale(part, shift, bias))
    return out


def leaky(x: np.ndarray) -> np.ndarray:
    """x where x >= 0, else floor((x + 4) / 8)."""
    out = np.empty_like(x)
    for rows in slabs(x.shape[0], x[0].size):
        # The quotient is at least x for x < 0 and at most x for x >= 0, so the maximum selects.
        quotient = np.multiply(x[rows], 0.125, out=out[rows])
        quotient += 0.5
        np.floor(quotient, out=quotient)
        np.maximum(x[rows], quotient, out=quotient)
    return out


def shuffle(x: np.ndarray) -> np.ndarray:
    """Pixel shuffle by 2: channel 4 c + 2 i + j of (y, x) goes to channel c of (2 y + i, 2 x +
    j)."""
    h, w, c = x.shape
    return np.ascontiguousarray(
        x.reshape(h, w, c // 4, 2, 2).transpose(0, 3, 1, 4, 2).reshape(2 * h, 2 * w, c // 4)
    )


def run(
    program: list[dict],
    arrays: Mapping[str, np.ndarray],
    gain_index: int,
    check: Callable[[], None] | None = None,
    **inputs: np.ndarray,
) -> np.ndarray:
    """Run a list of layers on named registers and return the register the last layer wrote.

    program: dicts with `op`, `in` (a register name or two), `out`, and per kind `weight`, `bias`,
    `multiplier` (names in `arrays`) and `shift`. gain_index: picks the row of row arrays.
    inputs: (h, w, C) float64 arrays holding integers, never modified. check: called before layers.
    """
    registers: dict[str, np.ndarray] = dict(inputs)
    out = None
    for layer in program:
        if check is not None:
            check()
        op = layer["op"]
        names = layer["in"] if isinstance(layer["in"], list) else [layer["in"]]
        x = registers[names[0]]
        if op == "conv1x1":
            out = conv1x1(x, arrays[layer["weight"]], layer["shift"], arrays[layer["bias"]])
        elif op == "depthwise3x3":
            out = depthwise3x3(x, arrays[layer["weight"]], layer["shift"], arrays[layer["bias"]])
        elif op == "row":
            bias = arrays[layer["bias"]][gain_index] if "bias" in layer else 0.0
            out = clamp(rescale(x * arrays[layer["multiplier"]][gain_index], layer["shift"], bias))
        elif op == "leaky":
            out = leaky(x)
        elif op == "shuffle":
            out = shuffle(x)
        elif op == "add":
            out = clamp(x + registers[names[1]])
        else:
            raise ModelError(f"the model uses a layer kind this release does not know: {op!r}")
        registers[layer["out"]] = out
    if out is None:
        raise ModelError("the model has an empty program")
    return out


def known_answer() -> bool:
    """Whether this machine's float64 matrix product is exact on integers (broken BLAS builds
    exist), and its rescaling too (threads may have another rounding mode).

    One product of the prior's kind, whose checksum was computed with Python integers, as a test
    repeats; and numbers at the borders of rescaling, against shifts of 64-bit integers.
    """
    a, b = known_factors()
    product = (a.astype(np.float64) @ b.astype(np.float64)).astype("<i8")
    if zlib.crc32(product.tobytes()) != KNOWN_CHECKSUM:
        return False
    halves = np.arange(-999, 1000, dtype=np.int64)
    for shift in KNOWN_SHIFTS:
        values = np.append(halves * (1 << (shift - 1)) - KNOWN_BIAS, product)
        exact = (values + KNOWN_BIAS + (1 << (shift - 1))) >> shift
        if not np.array_equal(rescale(values.astype(np.float64), shift, KNOWN_BIAS), exact):
            return False
    return True


def known_factors() -> tuple[np.ndarray, np.ndarray]:
    """The factors of `known_answer`: int64 (61, 320) and (320, 61), int16 values."""
    i = np.arange(61 * 320, dtype=np.int64)
    a = (i * 7919 % 65536 - 32768).reshape(61, 320)
    b = (i * 104729 % 65536 - 32768).reshape(320, 61)
    return a, b
