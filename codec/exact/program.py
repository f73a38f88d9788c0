"""A bundle's integer synthesis as data: its layers, read and checked (docs/format/specification.md,
section 6).

What passes is safe to run: registers are written before they are read, shapes fit, and no sum
leaves int32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ...formats import ModelError
from .native.measure import rows_of

LOW, HIGH = -32768, 32767
GAIN_LEVELS = 256
MOST_LAYERS = 1000
MOST_CHANNELS = 4096
MOST_RATE = 64  # rows of a register in a row of cells

DEPTHWISE = "depthwise3x3"
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Layer:
    """One layer: `op`, the registers it reads and the one it writes, and its numbers as they are
    stored.

    weight: int16, of `conv1x1` (D, C), of `depthwise3x3` (C, 3, 3). bias: int32 (D,). multiplier:
    int16 (256, C). shifts: uint8 (256, C) or (256,). number: the shift of a convolution, the slope
    of a `leaky`, the size of a shuffle. left, table: of the analysis (analysis_program.py).
    """

    op: str
    sources: tuple[str, ...]
    out: str
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    multiplier: np.ndarray | None = None
    shifts: np.ndarray | None = None
    number: int = 0
    left: np.ndarray | None = None
    table: np.ndarray | None = None

    @cached_property
    def matrix(self) -> np.ndarray:
        """Of a `conv1x1`: float64 (C, D), times 2^-shift."""
        assert self.weight is not None
        return np.ascontiguousarray(self.weight.T * math.ldexp(1, -self.number))

    @cached_property
    def filters(self) -> np.ndarray:
        """Of a `depthwise3x3`: int32 (3, 3, C)."""
        assert self.weight is not None
        return np.ascontiguousarray(self.weight.transpose(1, 2, 0), np.int32)

    @cached_property
    def rounding(self) -> np.ndarray:
        """A convolution's bias, and half of what is shifted away: int64 (D,)."""
        assert self.bias is not None
        return self.bias.astype(np.int64) + (1 << self.number - 1)


class Shape(NamedTuple):
    """Of a register: channels, rows per cell, and the least and largest value."""

    channels: int
    rate: int
    low: int = LOW
    high: int = HIGH


class Reader:
    """Layers of a program, checked. Everything it raises is a ModelError."""

    # kinds that read the register that is given, and no others
    first: tuple[str, ...] = ("dequantise",)
    pairs: tuple[str, ...] = ("add",)  # kinds that read two

    def __init__(self, arrays: Arrays, given: str, shape: Shape):
        self._arrays = arrays
        self._given = given
        self._shapes = {given: shape}
        self._kinds: dict[str, Callable] = {
            "dequantise": self._dequantise, "row": self._row, "conv1x1": self._conv1x1,
            "depthwise3x3": self._depthwise3x3, "leaky": self._leaky, "shuffle": self._shuffle,
            "unshuffle": self._unshuffle, "add": self._add,
        }  # fmt: skip

    def array(self, name: object, kind: type, shape: tuple[int, ...]) -> np.ndarray:
        a = self._arrays.get(name) if isinstance(name, str) else None
        if a is None or a.dtype != kind or a.shape != shape:
            raise ModelError(f"the synthesis needs an array {name!r} of {np.dtype(kind)} {shape}")
        if kind is np.int16 and a.size and a.min() == LOW:
            raise ModelError(f"the synthesis has a weight of {LOW} in {name!r}")
        return a

    def layer(self, fields: object) -> Layer:
        if not isinstance(fields, dict):
            raise ModelError("the synthesis has a layer that is no object")
        op, out = fields.get("op"), fields.get("out")
        op = op if isinstance(op, str) else ""
        names = fields.get("in")
        sources = tuple(names) if isinstance(names, list) else (names,)
        if not isinstance(out, str) or out in self._shapes:
            raise ModelError(f"the synthesis writes register {out!r} twice, or nowhere")
        if any(not isinstance(s, str) or s not in self._shapes for s in sources):
            raise ModelError(f"the synthesis reads registers {names!r} before they are written")
        reads_given = self._reads_given(sources, fields)
        if len(sources) != (2 if op in self.pairs else 1) or not reads_given:
            raise ModelError(f"the synthesis reads the wrong registers: {names!r}")
        shapes = [self._shapes[s] for s in sources]
        make = self._kinds.get(op)
        if make is None:
            raise ModelError(f"the model uses a layer kind this release does not know: {op!r}")
        layer, shape = make(fields, *shapes)
        if shape.channels > MOST_CHANNELS or shape.rate > MOST_RATE:
            raise ModelError("the synthesis has a register that is too large")
        self._shapes[out] = shape
        return Layer(op, sources, out, **layer)

    def _reads_given(self, sources: tuple[str, ...], fields: dict) -> bool:
        """Whether a layer reads the register that is given where it has to, and only there."""
        return (self._given in sources) == (fields.get("op") in self.first)

    def shape(self, register: str) -> Shape:
        return self._shapes[register]

    def _whole(self, fields: dict, name: str, low: int, high: int) -> int:
        value = fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ModelError(f"the synthesis needs a {name!r} from {low} to {high}")
        return value

    def _gain(self, fields: dict, of: Shape, shape: tuple[int, ...], most: int) -> dict:
        multiplier = self.array(fields.get("multiplier"), np.int16, (GAIN_LEVELS, of.channels))
        shift = self.array(fields.get("shift"), np.uint8, shape)
        if shift.min() < 1 or shift.max() > most:
            raise ModelError(f"the synthesis shifts by less than 1 or by more than {most}")
        return {"multiplier": multiplier, "shifts": shift}

    def _dequantise(self, fields: dict, of: Shape) -> tuple[dict, Shape]:
        gain = self._gain(fields, of, (GAIN_LEVELS, of.channels), 46)
        if gain["multiplier"].min() < 0:
            raise ModelError("the synthesis dequantises by a negative number")
        return gain, Shape(of.channels, of.rate)

    def _row(self, fields: dict, of: Shape) -> tuple[dict, Shape]:
        return self._gain(fields, of, (GAIN_LEVELS,), 30), Shape(of.channels, of.rate)

    def _bounded(self, fields: dict, weight: np.ndarray, bias: np.ndarray, of: Shape) -> int:
        """The shift of a convolution whose sums fit int32. weight: (outputs, ...)."""
        shift = self._whole(fields, "shift", 1, 30)
        low, high = bounds(weight, bias, shift, of.low, of.high)
        if low < -(2**31) or high >= 2**31:
            raise ModelError(f"the sums of {fields.get('weight')!r} do not fit 32 bits")
        return shift

    def _conv1x1(self, fields: dict, of: Shape) -> tuple[dict, Shape]:
        name = fields.get("bias")
        named = self._arrays.get(name) if isinstance(name, str) else None
        outputs = 0 if named is None else named.size
        bias = self.array(fields.get("bias"), np.int32, (outputs,))
        weight = self.array(fields.get("weight"), np.int16, (outputs, of.channels))
        shift = self._bounded(fields, weight, bias, of)
        layer = {"weight": weight, "bias": bias, "number": shift}
        return layer, Shape(outputs, of.rate)

    def _depthwise3x3(self, fields: dict, of: Shape) -> tuple[dict, Shape]:
        weight = self.array(fields.get("weight"), np.int16, (of.channels, 3, 3))
        bias = self.array(fields.get("bias"), np.int32, (of.channels,))
        shift = self._bounded(fields, weight, bias, of)
        layer = {"weight": weight, "bias": bias, "number": shift}
        return layer, Shape(of.channels, of.rate)

    def _leaky(self, fields: dict, of: Shape) -> tuple[dict, Shape]:
        slope = self._whole(fields, "slope", 1, 16384)
        low = max(of.low, of.low * slope + 16384 >> 15)
        return {"number": slope}, Shape(of.channels, of.rate, low, of.high)

    def _shuffle(self, fields: dict, of: Shape) -> tuple[dict, Shape]:
        size = self._whole(fields, "size", 2, 16)
        if of.channels % size**2:
            raise ModelError(f"the synthesis cannot shuffle {of.channels} channels by {size}")
        return {"number": size}, Shape(of.channels // size**2, of.rate * size, of.low, of.high)

    def _unshuffle(self, fields: dict, of: Shape) -> tuple[dict, Shape]:
        size = self._whole(fields, "size", 2, 16)
        if of.rate % size:
            raise ModelError(f"the synthesis cannot unshuffle {of.rate} rows by {size}")
        return {"number": size}, Shape(of.channels * size**2, of.rate // size, of.low, of.high)

    def _add(self, fields: dict, one: Shape, two: Shape) -> tuple[dict, Shape]:
        if (one.channels, one.rate) != (two.channels, two.rate):
            raise ModelError("the synthesis adds registers of different shapes")
        return {}, Shape(one.channels, one.rate)


def bounds(
    weight: np.ndarray, bias: np.ndarray, shift: int, low: int, high: int
) -> tuple[int, int]:
    """Between what a convolution's sums lie, with what rounds them: the format's bounds.

    weight: int16 (outputs, ...); bias: int32 (outputs,); low, high: of its input.
    """
    rows = rows_of(weight)
    least = rows.up * low + rows.down * high + bias
    most = rows.up * high + rows.down * low + bias
    return int(least.min()), int(most.max()) + (1 << shift - 1)


@dataclass(frozen=True)
class Program:
    """Layers in order, the last of which makes pixel units. rate: rows of pixels it makes of a row
    of cells."""

    layers: tuple[Layer, ...]
    rate: int

    @property
    def result(self) -> str:
        return self.layers[-1].out

    @cached_property
    def readers(self) -> dict[str, list[Layer]]:
        """The layers that read each register."""
        found: dict[str, list[Layer]] = {}
        for layer in self.layers:
            for source in layer.sources:
                found.setdefault(source, []).append(layer)
        return found


@dataclass(frozen=True)
class Synthesis:
    """The integer synthesis of a bundle: `synthesis`, `linear`, and previews by their scale."""

    synthesis: Program
    linear: Program
    previews: dict[int, Program] = field(default_factory=dict)


def read_synthesis(description: dict, arrays: Arrays, prior: dict) -> Synthesis:
    """A bundle's synthesis, with all that section 6 of the format asks for checked.

    description: of synthesis.json; arrays: of synthesis.safetensors; prior: the prior's program.
    Raises ModelError.
    """
    if not isinstance(description, dict):
        raise ModelError("the synthesis is no object")
    for name in ("latents", "stride", "mean_bits"):
        if description.get(name) != prior.get(name):
            raise ModelError(f"the synthesis has another {name!r} than the prior")
    latents, stride = description["latents"], description["stride"]

    def program(layers: object, rate: int) -> Program:
        if not isinstance(layers, list) or not 0 < len(layers) <= MOST_LAYERS:
            raise ModelError("the synthesis lacks a program, or has one too long")
        reader = Reader(arrays, "y", Shape(latents, 1))
        made = tuple(reader.layer(fields) for fields in layers)
        read = {source for layer in made for source in layer.sources}
        if any(layer.out not in read for layer in made[:-1]) or made[-1].out in read:
            raise ModelError("the synthesis writes a register that nothing reads")
        shape = reader.shape(made[-1].out)
        if (shape.channels, shape.rate) != (3, rate):
            raise ModelError("the synthesis does not make pixels of the image's size")
        return Program(made, rate)

    previews = description.get("previews", {})
    if not isinstance(previews, dict) or not previews.keys() <= {"4", "8"}:
        raise ModelError("the synthesis has previews of unknown scales")
    return Synthesis(
        program(description.get("synthesis"), stride),
        program(description.get("linear"), stride),
        {int(n): program(layers, stride // int(n)) for n, layers in previews.items()},
    )
