"""The integer analysis: levels to latents and z_hat, the same on every machine (docs/ENCODER.md).

This is the definition in NumPy, on whole registers: windows of an image are small enough. The
native core does the same, faster.
"""

from __future__ import annotations

import numpy as np

from . import hyper_latents, synthesis
from .analysis_program import KNOTS, LATENT_BITS, LATENT_MOST, Analysis, Layers
from .native import analysis as native
from .program import DEPTHWISE, Layer


def latents(analysis: Analysis, levels: np.ndarray, gain_index: int) -> np.ndarray:
    """g_a. levels: uint8 (H, W, 3), sides multiples of the stride. Returns y, int32 (h, w, M), in
    quantisation steps with LATENT_BITS fractional bits."""
    block = native.block_of(analysis.g_a)
    if block is not None and max(levels.shape[:2]) <= native.MOST_SIDE:
        h, w = (n // analysis.stride for n in levels.shape[:2])
        return native.run(block, levels, (h, w), gain_index)
    return _run(analysis.g_a, levels.astype(np.int16) - np.int16(128), gain_index)


def hyper_symbols(analysis: Analysis, y: np.ndarray, gain_index: int) -> np.ndarray:
    """h_a. y: int32 (h, w, M), as `latents` gives it. Returns z_hat, int32 (hz, wz, Z)."""
    block = native.block_of(analysis.h_a)
    if block is not None and max(y.shape[:2]) <= native.MOST_SIDE:
        stride = analysis.hyper_stride
        h, w = (-(-n // stride) for n in y.shape[:2])
        return native.run(block, y, (h, w), gain_index)
    return _run(analysis.h_a, y, gain_index)


def in_steps(y: np.ndarray) -> np.ndarray:
    """Latents in quantisation steps, float32, which holds them exactly."""
    return y.astype(np.float32) * np.float32(2.0**-LATENT_BITS)


def _run(program: Layers, given: np.ndarray, gain_index: int) -> np.ndarray:
    registers = {program.given: given}
    last = {source: layer for layer in program.layers for source in layer.sources}
    for layer in program.layers:
        x = [registers[source] for source in layer.sources]
        registers[layer.out] = _run_layer(layer, x, gain_index)
        for source in layer.sources:
            if last[source] is layer:
                registers.pop(source, None)
    return registers[program.layers[-1].out]


def _run_layer(layer: Layer, x: list[np.ndarray], gain_index: int) -> np.ndarray:
    if layer.op == DEPTHWISE:
        return synthesis.depthwise3x3(layer, x[0], True, True)
    if layer.op == "sums":
        return _sums(layer, x[0])
    if layer.op == "latents":
        assert layer.left is not None
        left = layer.left.astype(np.int64)
        total = (x[0].astype(np.int64) << left[0]) + (x[1].astype(np.int64) << left[1])
        return _scaled(layer, total, gain_index, LATENT_MOST)
    if layer.op == "symbols":
        return _scaled(layer, x[0].astype(np.int64), gain_index, hyper_latents.MOST)
    if layer.op == "asinh":
        return _asinh(layer, x[0])
    if layer.op == "neighbours":
        return _neighbours(x[0])
    return synthesis.run_layer(layer, x, gain_index)


def _sums(layer: Layer, x: np.ndarray) -> np.ndarray:
    """int16 (h, w, C) -> int32 (h, w, D)."""
    assert layer.bias is not None
    h, w, c = x.shape
    a = x.reshape(-1, c).astype(np.float64) @ layer.matrix
    a += layer.bias
    return a.astype(np.int32).reshape(h, w, -1)


def _scaled(layer: Layer, total: np.ndarray, gain_index: int, most: int) -> np.ndarray:
    """int64 (h, w, C) times the gains -> int32."""
    assert layer.multiplier is not None
    assert layer.shifts is not None
    shift = layer.shifts[gain_index].astype(np.int64)
    total = total * layer.multiplier[gain_index]
    total += np.int64(1) << shift - 1
    total >>= shift
    return np.clip(total, -most, most).astype(np.int32)


def _asinh(layer: Layer, y: np.ndarray) -> np.ndarray:
    """int32, within LATENT_MOST -> int16: a table of KNOTS lines in each octave of |y| + 1."""
    assert layer.table is not None
    table = layer.table.astype(np.int32)
    u = np.abs(y) + (1 << LATENT_BITS)
    # float32 holds u, hence its exponent is that of the top bit
    shift = np.frexp(u.astype(np.float32))[1] - 6
    place = u >> shift  # KNOTS .. 2 KNOTS - 1
    k = KNOTS * (shift + 5 - LATENT_BITS) + place - KNOTS
    rest = u - (place << shift)
    value = table[k] + ((table[k + 1] - table[k]) * rest + (1 << shift - 1) >> shift)
    return np.where(y < 0, -value, value).astype(np.int16)


def _neighbours(x: np.ndarray) -> np.ndarray:
    """(h, w, C) -> (ceil(h / 2), ceil(w / 2), 9 C): what is around every other place, row by row;
    zeros outside."""
    h, w, c = x.shape
    rows, columns = -(-h // 2), -(-w // 2)
    padded = np.zeros((2 * rows + 1, 2 * columns + 1, c), x.dtype)
    padded[1 : 1 + h, 1 : 1 + w] = x
    parts = [
        padded[i : i + 2 * rows : 2, j : j + 2 * columns : 2] for i in range(3) for j in range(3)
    ]
    return np.concatenate(parts, 2)
