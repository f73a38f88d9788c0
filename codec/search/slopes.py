"""The layers of a prior in float32, and their gradient: what the encoder needs to see where a
change leads.

As if nothing were rounded or clamped. The exact way is interpreter.py; nothing here decides what a
file means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..exact.interpreter import shuffle
from ..exact.native import floats as native

if TYPE_CHECKING:
    from ..exact.prior import Prior
    from ..exact.steps import Cell

# What the scale indexes of trained models stand for, in quantisation steps: rising evenly in their
# logarithm.
SCALE_LEVELS = 64
SCALE_MIN, SCALE_MAX = 0.11, 256.0
LOG_SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)

# Layers, and the input of those whose slope depends on it
Tape = list[tuple[dict, np.ndarray | None]]


def forward(
    program: list[dict], weights: Mapping[str, np.ndarray], gain_index: int, **registers: np.ndarray
) -> tuple[np.ndarray, Tape]:
    """What interpreter.run gives, about, and the tape for the way back. weights: float32."""
    tape: Tape = []
    out = None
    for layer in program:
        names = layer["in"] if isinstance(layer["in"], list) else [layer["in"]]
        x = registers[names[0]]
        tape.append((layer, x if layer["op"] == "leaky" else None))
        if layer["op"] == "conv1x1":
            out = x @ (weights[layer["weight"]] * _slope(layer))
            out += weights[layer["bias"]] * _slope(layer)
        elif layer["op"] == "depthwise3x3":
            out = _depthwise(x, weights[layer["weight"]] * _slope(layer))
            out += weights[layer["bias"]] * _slope(layer)
        elif layer["op"] == "row":
            out = x * (weights[layer["multiplier"]][gain_index] * _slope(layer))
            if "bias" in layer:
                out += weights[layer["bias"]][gain_index] * _slope(layer)
        elif layer["op"] == "leaky":
            out = np.maximum(x, np.float32(0.125) * x)
        elif layer["op"] == "shuffle":
            out = shuffle(x)
        else:
            assert layer["op"] == "add", layer["op"]
            out = x + registers[names[1]]
        registers[layer["out"]] = out
    assert out is not None
    return out, tape


def backward(
    tape: Tape, weights: Mapping[str, np.ndarray], gain_index: int, gradient: np.ndarray
) -> dict[str, np.ndarray]:
    """The gradients by the registers that `forward` was given, from that by its result."""
    gradients = {tape[-1][0]["out"]: gradient}
    for layer, x in reversed(tape):
        names = layer["in"] if isinstance(layer["in"], list) else [layer["in"]]
        g = gradients.pop(layer["out"])
        if layer["op"] == "conv1x1":
            g = g @ (weights[layer["weight"]].T * _slope(layer))
        elif layer["op"] == "depthwise3x3":
            g = _depthwise(g, weights[layer["weight"]][::-1, ::-1] * _slope(layer))
        elif layer["op"] == "row":
            g = g * (weights[layer["multiplier"]][gain_index] * _slope(layer))
        elif layer["op"] == "leaky":
            g = np.where(x > 0, g, np.float32(0.125) * g)
        elif layer["op"] == "shuffle":
            h, w, c = g.shape
            g = g.reshape(h // 2, 2, w // 2, 2, c).transpose(0, 2, 4, 1, 3)
            g = g.reshape(h // 2, w // 2, 4 * c)
        for name in names:
            gradients[name] = gradients[name] + g if name in gradients else g
    return gradients


@dataclass(frozen=True)
class Head:
    """The end of a step of the prior in one cell, about: means in quantisation steps, and scale
    indexes as levels that need not be whole. mean_weight, scale_weight: float32 (F, n); the others
    are numbers, or float32 (n,)."""

    mean_weight: np.ndarray
    mean_bias: np.ndarray
    mean_slope: np.ndarray
    scale_weight: np.ndarray
    scale_bias: np.ndarray
    row_bias: np.ndarray
    scale_slope: np.float32

    @classmethod
    def of(cls, prior: Prior, gain_index: int, k: int, cell: Cell) -> Head:
        """That of step k in a cell."""
        program, weights, step = prior.program, prior.single, prior.steps[k]
        weight, bias = weights[step["weight"]], weights[step["bias"]]
        shift = step["mean_shift"] + program["mean_shift"]
        multiplier = weights[program["mean_multiplier"]][gain_index, cell.channels]
        return cls(
            weight[:, cell.mean],
            bias[cell.mean],
            multiplier * np.float32(2.0**-shift / prior.unit),
            weight[:, cell.scale],
            bias[cell.scale],
            weights[program["scale_bias"]][gain_index, cell.channels],
            np.float32(2.0 ** -step["scale_shift"]),
        )

    def means(self, features: np.ndarray) -> np.ndarray:
        """features: float32 (h, w, F) -> float32 (h, w, n)."""
        return (features @ self.mean_weight + self.mean_bias) * self.mean_slope

    def levels(self, features: np.ndarray) -> np.ndarray:
        """features: float32 (h, w, F) -> float32 (h, w, n)."""
        level = features @ self.scale_weight + self.scale_bias
        level += self.row_bias
        level *= self.scale_slope
        return level

    def backward(self, by_mean: np.ndarray, by_level: np.ndarray) -> np.ndarray:
        """The gradient by the features, from those by means and levels."""
        out = (by_mean * self.mean_slope) @ self.mean_weight.T
        out += (by_level * self.scale_slope) @ self.scale_weight.T
        return out


def _slope(layer: dict) -> np.float32:
    return np.float32(2.0 ** -layer["shift"])


def _depthwise(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x: (h, w, C); weight: (3, 3, C), zeros outside."""
    made = native.depthwise(x, weight)
    if made is not None:
        return made
    h, w, c = x.shape
    padded = np.zeros((h + 2, w + 2, c), np.float32)
    padded[1:-1, 1:-1] = x
    out = x * weight[1, 1]
    product = np.empty_like(x)
    for i in range(3):
        for j in range(3):
            if (i, j) != (1, 1):
                np.multiply(padded[i : i + h, j : j + w], weight[i, j], out=product)
                out += product
    return out
