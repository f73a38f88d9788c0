"""The integer synthesis: y_hat to pixel units by a program of layers (docs/format/specification.md,
section 6).

This is the definition in NumPy. Registers are int16 images (rows, columns, channels). Products with
matrices run in float64, in which every sum below 2^53 is exact; all else is int32. Rows go through
the program band by band, and a register keeps the few rows that are still wanted, so that memory
does not grow with a picture's height and no pixel is worked out twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .native import pixels as native_pixels
from .native import synthesis as native
from .program import DEPTHWISE, HIGH, LOW, Layer, Program

SLAB = 1 << 16  # numbers of an array that are worked on at once, so that they stay in the caches
UNITS = 16320.0  # of pixels, to 1
BAND_CELLS = 1024  # cells of the latents' grid in a band, about


@dataclass
class _Register:
    """The rows of a register that are kept: `rows`, (n, columns, channels), from row `start`."""

    total: int
    rows: np.ndarray
    start: int = 0

    @property
    def end(self) -> int:
        return self.start + len(self.rows)

    def append(self, rows: np.ndarray) -> None:
        self.rows = np.concatenate([self.rows, rows]) if len(self.rows) else rows

    def drop(self, before: int) -> None:
        count = min(max(0, before - self.start), len(self.rows))
        # a copy, so that what is dropped is freed
        self.rows, self.start = self.rows[count:].copy(), self.start + count

    def between(self, first: int, last: int) -> np.ndarray:
        return self.rows[first - self.start : last - self.start]


# -- layers ---------------------------------------------------------------------------------------


def _slabs(rows: int, row_size: int) -> Iterator[slice]:
    step = max(1, SLAB // max(1, row_size))
    return (slice(top, min(top + step, rows)) for top in range(0, rows, step))


def _clamp(a: np.ndarray, out: np.ndarray) -> None:
    out[...] = np.clip(a, LOW, HIGH, out=a)


def dequantise(layer: Layer, y: np.ndarray, gain_index: int) -> np.ndarray:
    """int32 (h, w, C) -> int16."""
    multiplier = layer.multiplier[gain_index].astype(np.int64)  # type: ignore[index]
    shift = layer.shifts[gain_index].astype(np.int64)  # type: ignore[index]
    half = np.int64(1) << shift - 1
    out = np.empty(y.shape, np.int16)
    for rows in _slabs(y.shape[0], y[0].size):
        a = y[rows] * multiplier
        a += half
        a >>= shift
        _clamp(a, out[rows])
    return out


def row(layer: Layer, x: np.ndarray, gain_index: int) -> np.ndarray:
    """int16 (h, w, C) -> int16."""
    multiplier = layer.multiplier[gain_index].astype(np.int32)  # type: ignore[index]
    shift = int(layer.shifts[gain_index])  # type: ignore[index]
    out = np.empty_like(x)
    for rows in _slabs(x.shape[0], x[0].size):
        a = x[rows] * multiplier
        a += 1 << shift - 1
        a >>= shift
        _clamp(a, out[rows])
    return out


def conv1x1(layer: Layer, x: np.ndarray) -> np.ndarray:
    """int16 (h, w, C) -> int16 (h, w, D)."""
    h, w, c = x.shape
    weight, bias = layer.matrix, layer.rounding * math.ldexp(1, -layer.number)
    d = weight.shape[1]
    out = np.empty((h, w, d), np.int16)
    for rows in _slabs(h, w * max(c, d)):
        # Weights and bias are scaled by 2^-shift: the sums are exact multiples of it.
        a = x[rows].reshape(-1, c).astype(np.float64) @ weight
        a += bias
        np.floor(a, out=a)
        _clamp(a, out[rows].reshape(-1, d))
    return out


def depthwise3x3(layer: Layer, x: np.ndarray, above: bool, below: bool) -> np.ndarray:
    """int16 (h, w, C) -> int16, of as many rows as have a row above and below them.

    above, below: whether x begins, ends, at the picture's side, beyond which there are zeros.
    """
    weight, bias = layer.filters, layer.rounding.astype(np.int32)
    w, c = x.shape[1:]
    first, h = 0 if above else 1, len(x) - (not above) - (not below)
    out = np.empty((h, w, c), np.int16)
    for rows in _slabs(h, w * c):
        n = rows.stop - rows.start
        padded = np.zeros((n + 2, w + 2, c), np.int32)
        top = first + rows.start - 1  # in x, of the first padded row
        inside = slice(max(0, top), min(len(x), top + n + 2))
        padded[inside.start - top : inside.stop - top, 1:-1] = x[inside]
        a = padded[:n, :w] * weight[0, 0]
        a += bias
        term = np.empty_like(a)
        for i in range(3):
            for j in range(3):
                if i or j:
                    np.multiply(padded[i : i + n, j : j + w], weight[i, j], out=term)
                    a += term
        a >>= layer.number
        _clamp(a, out[rows])
    return out


def leaky(layer: Layer, x: np.ndarray) -> np.ndarray:
    """int16 -> int16."""
    out = np.empty_like(x)
    for rows in _slabs(x.shape[0], x[0].size):
        a = x[rows].astype(np.int32)
        a *= layer.number
        a += 16384
        a >>= 15
        out[rows] = np.maximum(a, x[rows])
    return out


def add(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """int16, int16 -> int16."""
    out = np.empty_like(one)
    for rows in _slabs(one.shape[0], one[0].size):
        _clamp(one[rows].astype(np.int32) + two[rows], out[rows])
    return out


def shuffle(x: np.ndarray, size: int) -> np.ndarray:
    """(h, w, size^2 C) -> (size h, size w, C)."""
    h, w, c = x.shape
    x = x.reshape(h, w, -1, size, size).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(x).reshape(h * size, w * size, c // size**2)


def unshuffle(x: np.ndarray, size: int) -> np.ndarray:
    """(size h, size w, C) -> (h, w, size^2 C)."""
    h, w, c = x.shape
    x = x.reshape(h // size, size, w // size, size, c).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(x).reshape(h // size, w // size, c * size**2)


def run_layer(layer: Layer, x: list[np.ndarray], gain_index: int) -> np.ndarray:
    """A layer on whole registers; not of `depthwise3x3`."""
    if layer.op == "conv1x1":
        return conv1x1(layer, x[0])
    if layer.op == "leaky":
        return leaky(layer, x[0])
    if layer.op == "add":
        return add(*x)
    if layer.op == "row":
        return row(layer, x[0], gain_index)
    if layer.op == "dequantise":
        return dequantise(layer, x[0], gain_index)
    return (shuffle if layer.op == "shuffle" else unshuffle)(x[0], layer.number)


# -- programs -------------------------------------------------------------------------------------


def needed(program: Program, first: int, last: int, cells: int) -> tuple[int, int]:
    """Which cells, of rows or of columns, the pixels from `first` to `last` depend on, within
    `cells`."""
    spans: dict[str, tuple[int, int]] = {program.result: (first, last)}
    for layer in reversed(program.layers):
        if layer.out not in spans:
            continue
        low, high = spans[layer.out]
        if layer.op == DEPTHWISE:
            low, high = low - 1, high + 1
        elif layer.op == "shuffle":
            low, high = low // layer.number, -(-high // layer.number)
        elif layer.op == "unshuffle":
            low, high = low * layer.number, high * layer.number
        for source in layer.sources:
            old = spans.get(source, (low, high))
            spans[source] = min(low, old[0]), max(high, old[1])
    low, high = spans["y"]
    return max(0, low), min(cells, high)


def run(
    program: Program,
    bands: Iterable[np.ndarray],
    rows: int,
    gain_index: int,
    check: Callable[[], None] | None = None,
) -> Iterator[np.ndarray]:
    """Pixel units, int16 (n, rate w, 3), from the top, of y_hat that comes in bands of rows.

    bands: int32 (n, w, M), `rows` rows in all. Beyond them, and beyond their columns, are zeros.
    check: called now and then by NumPy; whoever makes the bands can do so for the native core.
    The native core does the work where it is there (AEI_CORE), and `run_numpy` says what it does.
    """
    block = native.block_of(program)
    if block is None:
        return run_numpy(program, bands, rows, gain_index, check)
    return native.run(block, program.rate, bands, rows, gain_index)


def run_numpy(
    program: Program,
    bands: Iterable[np.ndarray],
    rows: int,
    gain_index: int,
    check: Callable[[], None] | None = None,
) -> Iterator[np.ndarray]:
    """`run`, the reference."""
    registers: dict[str, _Register] = {}
    last = {source: layer for layer in program.layers for source in layer.sources}
    step = 1
    for band in bands:
        if "y" not in registers:
            registers["y"], step = _Register(rows, band[:0]), max(1, len(band))
        registers["y"].append(band)
        # Once for a band, but for the last, after which all that had to wait goes on, as much at a
        # time.
        while _pass(program, registers, last, step / rows, gain_index, check):
            result = registers[program.result]
            if len(result.rows):
                yield result.rows
                result.start, result.rows = result.end, result.rows[:0]


def _pass(
    program: Program,
    registers: dict[str, _Register],
    last: dict[str, Layer],
    share: float,
    gain_index: int,
    check: Callable[[], None] | None,
) -> bool:
    """Let each layer work out a share of its rows, if its sources are there; whether any did. last:
    the last layer that reads a register."""
    busy = False
    for layer in program.layers:
        if check is not None:
            check()
        busy |= _advance(layer, registers, share, gain_index)
        for name in layer.sources:
            if last[name] is layer:  # all that read it have had their turn
                readers = program.readers[name]
                wanted = [_first_wanted(r, registers[r.out].end) for r in readers]
                registers[name].drop(min(wanted))
    return busy


def _advance(layer: Layer, registers: dict[str, _Register], share: float, gain_index: int) -> bool:
    """Work out rows of a layer, a share of all at most, whose sources are there; whether there were
    any."""
    sources = [registers[name] for name in layer.sources]
    source = sources[0]
    end, total = min(s.end for s in sources), source.total
    last = end  # in rows of the output
    if layer.op == DEPTHWISE:
        last = end if end == total else max(0, end - 1)
    elif layer.op == "shuffle":
        last, total = end * layer.number, total * layer.number
    elif layer.op == "unshuffle":
        last, total = end // layer.number, total // layer.number
    if layer.out not in registers:
        width = source.rows.shape[1]
        registers[layer.out] = _Register(total, np.empty((0, width, 0), np.int16))
    out = registers[layer.out]
    first = out.end
    last = min(last, first + max(1, round(total * share)))
    if last <= first:
        return False
    if layer.op == DEPTHWISE:
        above, below = first == 0, last == total
        x = source.between(first - (not above), last + (not below))
        made = depthwise3x3(layer, x, above, below)
    else:
        wanted = _first_wanted(layer, first), _first_wanted(layer, last)
        made = run_layer(layer, [s.between(*wanted) for s in sources], gain_index)
    out.append(made)
    return True


def _first_wanted(layer: Layer, row: int) -> int:
    """The first row of a layer's source that its output from `row` on needs."""
    if layer.op == DEPTHWISE:
        return max(0, row - 1)
    if layer.op == "shuffle":
        return row // layer.number
    return row * layer.number if layer.op == "unshuffle" else row


def bands_of(rows: int, columns: int) -> Iterator[slice]:
    """Rows of cells in bands of about BAND_CELLS."""
    step = max(1, BAND_CELLS // max(1, columns))
    return (slice(top, min(top + step, rows)) for top in range(0, rows, step))


# -- levels ---------------------------------------------------------------------------------------


def to_levels(x: np.ndarray, grey: bool) -> np.ndarray:
    """Pixel units, int16 or int32 (h, w, 3) -> uint8 (h, w, 3), or (h, w) where grey."""
    levels = None if grey else native_pixels.to_levels(x)
    if levels is not None:
        return levels
    if grey:
        total = x.sum(2, dtype=np.int32)
        return np.clip((total + 24576) // 192, 0, 255).astype(np.uint8)
    a = x.astype(np.int32)
    a += 8192
    a >>= 6
    return np.clip(a, 0, 255, out=a).astype(np.uint8)


def units_of(x: np.ndarray) -> np.ndarray:
    """Pixels in -0.5..0.5, about, float (h, w, 3), in pixel units: int16."""
    return np.clip(np.rint(x * UNITS), LOW, HIGH).astype(np.int16)
