"""Whether a prior that was read from a bundle can run, and exactly.

The interpreter believes its program: so names, shapes and ranges are looked at when a bundle is
loaded, and every accumulator is bounded again, by the same sums that the exporter proves: the
largest sum of magnitudes of a layer's weights times 2^15, with its bias, stays below 2^52.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...formats import ModelError
from .native.measure import rows_of

EXACT = 2.0**52
ACTIVATION = 32768.0  # largest magnitude of an activation
SYMBOL = 32767  # of a symbol
MOST_Z = 32767 + 4096  # of a hyper-latent: a symbol beside an expectation
GAINS = 256
TOTAL = 1 << 24  # of a table's frequencies
MOST_LAYERS = 1000
MOST_CHANNELS = 8192


def check_prior(program: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ModelError, in one sentence, where a program and its arrays cannot be run exactly."""
    try:
        _Checker(program, arrays).check()
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError) as error:
        raise ModelError(f"the model's prior is malformed ({_said(error)})") from None


def _said(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)


class _Checker:
    def __init__(self, program: Any, arrays: Mapping[str, np.ndarray]):
        self.program, self.arrays = program, arrays

    def check(self) -> None:
        p = self.program
        _need(isinstance(p, dict), "no object")
        for name, a in self.arrays.items():
            _need(a.dtype.kind in "iu", f"{name} holds no integers")
        self.m = _int(p, "latents", 1, MOST_CHANNELS)
        self.z = _int(p, "hyper_latents", 1, MOST_CHANNELS)
        self.bits = _int(p, "mean_bits", 0, 16)
        self.scales = _int(p, "scales", 0, 255)
        _int(p, "stride", 1, 64)
        _int(p, "hyper_stride", 1, 64)
        _int(p, "skip_below", 0, self.scales)
        self.tables()
        if "size" in p:
            sides = p["size"]
            _need(isinstance(sides, list) and len(sides) == 2, "size is not two sides")
            for side in sides:
                _range("size", side, 1, 1 << 14)
        self.hyper_context()
        _need(isinstance(p["steps"], list) and len(p["steps"]) in (0, 4), "not four steps")
        if not p["steps"]:
            _need(self.m == self.z, "latents are not the hyper-latents")
            _need(MOST_Z * 2.0**self.bits < 2**31, "latents may be too large")
            return
        _need(self.m % 4 == 0, "latents are no multiple of four")
        _need(0 < self.scales <= self.count, "more scales than tables")
        self.residuals()
        h, scale = self.layers(p["hyper"], {"z": (self.z, 1)}, MOST_Z)
        _need(scale == p["hyper_stride"], "hyper does not enlarge by hyper_stride")
        self.order()
        for step in p["steps"]:
            features, scale = self.layers(step["features"], {"h": (h, 1), "view": (self.m, 1)})
            _need(scale == 1, "a step's features enlarge")
            self.head(step, features, 2 * self.m, self.scale_bias(p["scale_bias"], self.m))

    def tables(self) -> None:
        sizes, frequencies = self.array("tables.sizes", 1), self.array("tables.frequencies", 1)
        self.count = len(sizes)
        _need(0 < self.count < 1 << 15, "too many tables")
        _need(bool((sizes >= 2).all() and (sizes <= 1 << 16).all()), "tables of impossible sizes")
        _need(int(sizes.astype(np.int64).sum()) == len(frequencies), "tables of other sizes")
        _need(bool((frequencies >= 1).all()), "frequencies below 1")
        starts = np.cumsum(sizes.astype(np.int64)) - sizes
        sums = np.add.reduceat(frequencies.astype(np.int64), starts)
        _need(bool((sums == TOTAL).all()), "frequencies that do not add up to 2^24")

    def hyper_context(self) -> None:
        if "hyper_context" not in self.program:
            tables = self.array("rows.z_table", 2)
            _need(tables.shape == (GAINS, self.z), "rows.z_table of another shape")
            _need(int(tables.max()) < self.count, "rows.z_table names no table")
            return
        context = self.program["hyper_context"]
        known, scale = self.layers(context["input"], {"z": (self.z, 1)}, MOST_Z)
        _need(known == self.z and scale == 1, "the context's input changes shape")
        features, scale = self.layers(context["features"], {"view": (4 * self.z, 1)})
        _need(scale == 1, "the context's features enlarge")
        phases = 1 << _int(context, "phase_bits", 3, 12)
        levels = _int(context, "levels", 1, 255)
        first = _int(context, "tables", 0, self.count)
        _need(first + phases * levels <= self.count, "the context names no table")
        bias = self.scale_bias(context["scale_bias"], self.z)
        self.head(context, features, 2 * self.z, bias)

    def residuals(self) -> None:
        """Bounds of y_hat, which 32 bits hold."""
        p = self.program
        unit, offsets = 2.0**self.bits, 0.0
        if "offsets" in p:
            a = self.array(p["offsets"], 2)
            _need(len(a) >= self.scales, "offsets of too few scales")
            offsets = float(np.abs(a.astype(np.int64)).max(initial=0))
        point = unit
        if "trellis" in p:
            point = max(point, self.trellis(p["trellis"]))
        mean = self.array(p["mean_multiplier"], 2)
        _need(mean.shape == (GAINS, self.m), f"{p['mean_multiplier']} of another shape")
        shift = _int(p, "mean_shift", 1, 40)
        largest = ACTIVATION * _most(mean)
        _exact("the means", largest + 2.0**shift)
        y = SYMBOL * point + offsets + largest * 2.0**-shift + 1
        _need(y < 2**31, "latents may be too large")
        view = self.array(p["view_multiplier"], 2)
        _need(view.shape == (GAINS, self.m), f"{p['view_multiplier']} of another shape")
        _exact("the view", y * _most(view) + 2.0 ** _int(p, "view_shift", 1, 40))

    def trellis(self, t: dict) -> float:
        first = _int(t, "first", 0, self.scales)
        _int(t, "length", 1, 1 << 20)
        half = _int(t, "half_step", 1, 1 << 16)
        following, shifted = np.array(t["next"]), np.array(t["shifted"])
        states = len(shifted)
        _need(shifted.ndim == 1 and 0 < states <= 1 << 16, "no states")
        _need(shifted.dtype.kind == "i" and set(shifted.tolist()) <= {0, 1}, "shifted not 0 or 1")
        _need(
            following.shape == (states, 2) and following.dtype.kind == "i", "next of another shape"
        )
        _need(following.min() >= 0 and following.max() < states, "next names no state")
        tables = _int(t, "tables", 0, self.count)
        _need(tables + self.scales - first <= self.count, "the trellis names no table")
        offsets = self.array(t["offsets"], 3)
        _need(offsets.shape[:2] == (2, self.scales - first), "trellis offsets of another shape")
        return 2.0 * half + half + float(np.abs(offsets.astype(np.int64)).max(initial=0))

    def order(self) -> None:
        order = self.program["order"]
        _need(len(order) == 4 and all(sorted(row) == [0, 1, 2, 3] for row in order), "no order")
        _need(all(sorted(column) == [0, 1, 2, 3] for column in zip(*order)), "no order")

    def head(self, step: dict, features: int, outputs: int, scale_bias: float) -> None:
        weight = self.weight(step["weight"], 2)
        _need(weight.shape == (outputs, features), f"{step['weight']} of another shape")
        bias = self.bias(step["bias"], outputs)
        shifts = max(_int(step, "mean_shift", 1, 40), _int(step, "scale_shift", 1, 40))
        sums = _magnitudes(weight) * ACTIVATION + bias
        _exact(step["weight"], float(sums.max()) + scale_bias + 2.0**shifts)

    def scale_bias(self, name: str, channels: int) -> float:
        a = self.array(name, 2)
        _need(a.shape == (GAINS, channels), f"{name} of another shape")
        return _most(a)

    def layers(
        self, program: Any, registers: dict[str, tuple[int, int]], largest: float = ACTIVATION
    ) -> tuple[int, int]:
        """Channels and enlargement of what a list of layers gives. registers: those of its inputs;
        largest: magnitude of an input."""
        _need(isinstance(program, list) and 0 < len(program) <= MOST_LAYERS, "no list of layers")
        registers = dict(registers)
        sizes = dict.fromkeys(registers, largest)
        out = (0, 0)
        for layer in program:
            op = layer["op"]
            names = layer["in"] if isinstance(layer["in"], list) else [layer["in"]]
            channels, scale = registers[names[0]]
            most = sizes[names[0]]
            if op == "conv1x1":
                weight = self.weight(layer["weight"], 2)
                _need(weight.shape[1] == channels, f"{layer['weight']} of another shape")
                self.exact(layer, weight, most)
                channels = weight.shape[0]
            elif op == "depthwise3x3":
                weight = self.weight(layer["weight"], 3)
                _need(weight.shape == (channels, 3, 3), f"{layer['weight']} of another shape")
                self.exact(layer, weight, most)
            elif op == "row":
                a = self.array(layer["multiplier"], 2)
                _need(a.shape == (GAINS, channels), f"{layer['multiplier']} of another shape")
                bias = self.scale_bias(layer["bias"], channels) if "bias" in layer else 0.0
                shift = _int(layer, "shift", 1, 40)
                _exact(layer["multiplier"], _most(a) * most + bias + 2.0**shift)
            elif op == "shuffle":
                _need(channels % 4 == 0, "a shuffle of channels that are no multiple of four")
                channels, scale = channels // 4, 2 * scale
                _need(scale <= 64, "too many shuffles")
            elif op == "add":
                _need(registers[names[1]] == (channels, scale), "a sum of two shapes")
            elif op != "leaky":
                raise ModelError(f"the model uses a layer kind this release does not know: {op!r}")
            out = channels, scale
            _need(0 < channels <= MOST_CHANNELS, "too many channels")
            registers[layer["out"]] = out
            # only these two do not clamp what they give
            sizes[layer["out"]] = most if op in ("leaky", "shuffle") else ACTIVATION
        return out

    def exact(self, layer: dict, weight: np.ndarray, most: float) -> None:
        sums = _magnitudes(weight) * most
        shift = _int(layer, "shift", 1, 40)
        bias = self.bias(layer["bias"], len(weight))
        _exact(layer["weight"], float((sums + bias).max()) + 2.0**shift)

    def array(self, name: Any, dimensions: int) -> np.ndarray:
        _need(isinstance(name, str) and name in self.arrays, f"no array {name!r}")
        a = self.arrays[name]
        _need(a.ndim == dimensions and a.size > 0, f"{name} of another shape")
        return a

    def weight(self, name: Any, dimensions: int) -> np.ndarray:
        _need(str(name).endswith(".weight"), f"{name!r} names no weight")
        return self.array(name, dimensions)

    def bias(self, name: Any, channels: int) -> np.ndarray:
        _need(str(name).endswith(".bias"), f"{name!r} names no bias")
        a = self.array(name, 1)
        _need(len(a) == channels, f"{name} of another shape")
        return np.abs(a.astype(np.float64))


def _need(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _exact(name: str, bound: float) -> None:
    _need(bound < EXACT, f"accumulators of {name} may pass 2^52, where sums are no longer exact")


def _magnitudes(weight: np.ndarray) -> np.ndarray:
    """Of each row of weights, the sum of their magnitudes."""
    if weight.dtype == np.int16:
        return rows_of(weight).magnitudes
    return np.abs(weight.astype(np.float64)).reshape(len(weight), -1).sum(1)


def _most(a: np.ndarray) -> float:
    """The largest magnitude of integers."""
    return float(max(-int(a.min()), int(a.max())))


def _range(name: str, value: Any, low: int, high: int) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    _need(whole and low <= value <= high, f"{name} is not a whole number from {low} to {high}")
    return value


def _int(program: Any, key: str, low: int, high: int) -> int:
    return _range(key, program[key], low, high)
