"""A bundle's integer analysis as data: the programs of g_a and h_a, read and checked
(docs/ENCODER.md).

They are no part of the format: an encoder may choose latents as it likes. With them, one release
chooses the same on every machine. Layers are those of the synthesis (program.py), and a few more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...formats import ModelError
from .program import GAIN_LEVELS, HIGH, LOW, MOST_LAYERS, Arrays, Layer, Reader, Shape

LATENT_BITS = 8  # fractional bits of latents in quantisation steps
LATENT_MOST = (1 << 23) - 1  # of their magnitude: float32 holds them exactly
KNOTS = 32  # of the table of asinh in each octave
TABLE = 16 * KNOTS + 1
ASINH_BITS = 11  # fractional bits of what the table holds
MOST_RISE = 1024  # between two knots, so that products fit int32
MOST_LEFT, MOST_SHIFT = 8, 54
WIDE = ("latents", "symbols")  # kinds that read sums
LEVEL_LOW, LEVEL_HIGH = -128, 127  # of the input of g_a: levels less 128


class _AnalysisReader(Reader):
    """Layers of g_a, whose input is `x`, and of h_a, whose input is `y`."""

    pairs = ("add", "latents")

    def __init__(self, arrays: Arrays, given: str, shape: Shape):
        super().__init__(arrays, given, shape)
        self._wide: set[str] = set()
        more: dict[str, Callable] = {
            "sums": self._sums, "latents": self._latents, "asinh": self._asinh,
            "neighbours": self._neighbours, "symbols": self._symbols,
        }  # fmt: skip
        self._kinds |= more
        del self._kinds["dequantise"], self._kinds["shuffle"]

    def layer(self, fields: object) -> Layer:
        layer = super().layer(fields)
        if layer.op == "sums":
            self._wide.add(layer.out)
        return layer

    def _reads_given(self, sources: tuple[str, ...], fields: dict) -> bool:
        op = fields.get("op")
        wide = [source in self._wide for source in sources]
        if any(wide) != (op in WIDE) or not (all(wide) or not any(wide)):
            return False
        if self._given == "y":
            return (sources == ("y",)) == (op == "asinh")
        return op != "asinh" and (self._given not in sources or op == "unshuffle")

    def _sums(self, fields: dict, of: Shape) -> tuple[dict, Shape]:
        layer, shape = self._conv1x1({**fields, "shift": 1}, of)
        return layer | {"number": 0}, shape

    def _factors(self, fields: dict, of: Shape) -> dict:
        shape = (GAIN_LEVELS, of.channels)
        multiplier = self.array(fields.get("multiplier"), np.int16, shape)
        shifts = self.array(fields.get("shift"), np.uint8, shape)
        if multiplier.min() < 0 or shifts.min() < 1 or shifts.max() > MOST_SHIFT:
            raise ModelError("the analysis has a gain that is out of range")
        return {"multiplier": multiplier, "shifts": shifts}

    def _latents(self, fields: dict, one: Shape, two: Shape) -> tuple[dict, Shape]:
        if (one.channels, one.rate) != (two.channels, two.rate):
            raise ModelError("the analysis adds registers of different shapes")
        left = self.array(fields.get("left"), np.uint8, (2, one.channels))
        if left.max() > MOST_LEFT:
            raise ModelError("the analysis has sums that are too far apart")
        return self._factors(fields, one) | {"left": left}, Shape(one.channels, one.rate)

    def _symbols(self, fields: dict, of: Shape) -> tuple[dict, Shape]:
        return self._factors(fields, of), Shape(of.channels, of.rate)

    def _asinh(self, fields: dict, of: Shape) -> tuple[dict, Shape]:
        table = self.array(fields.get("table"), np.int16, (TABLE,))
        rises = np.diff(table.astype(np.int32))
        if table[0] < 0 or rises.min() < 0 or rises.max() > MOST_RISE:
            raise ModelError("the analysis has a table that falls, or rises too fast")
        most = int(table[-1])
        return {"table": table}, Shape(of.channels, of.rate, -most, most)

    def _neighbours(self, fields: dict, of: Shape) -> tuple[dict, Shape]:
        if of.rate % 2:
            raise ModelError("the analysis halves what is odd")
        return {}, Shape(9 * of.channels, of.rate // 2, of.low, of.high)


@dataclass(frozen=True)
class Layers:
    """A program: its layers in order, the last of which makes the result; `given`: the register
    that is its input."""

    layers: tuple[Layer, ...]
    given: str


@dataclass(frozen=True)
class Analysis:
    """The integer analysis of a bundle: g_a, from levels to latents, and h_a, from latents to
    z_hat."""

    g_a: Layers
    h_a: Layers
    stride: int
    hyper_stride: int


def read_analysis(description: dict, arrays: Arrays, prior: dict) -> Analysis:
    """A bundle's analysis, checked: no sum leaves int32, and shapes fit.

    description: of analysis.json; arrays: of analysis.safetensors; prior: the prior's program.
    Raises ModelError.
    """
    if not isinstance(description, dict):
        raise ModelError("the analysis is no object")
    for name in ("latents", "hyper_latents", "stride", "hyper_stride"):
        if description.get(name) != prior.get(name):
            raise ModelError(f"the analysis has another {name!r} than the prior")
    if description.get("latent_bits") != LATENT_BITS:
        raise ModelError(f"the analysis makes latents of other than {LATENT_BITS} bits")

    def program(name: str, given: str, of: Shape, channels: int, last: str) -> Layers:
        layers = description.get(name)
        if not isinstance(layers, list) or not 0 < len(layers) <= MOST_LAYERS:
            raise ModelError("the analysis lacks a program, or has one too long")
        reader = _AnalysisReader(arrays, given, of)
        try:
            made = tuple(reader.layer(fields) for fields in layers)
        except ModelError as error:
            raise ModelError(str(error).replace("the synthesis", "the analysis")) from None
        read = {source for layer in made for source in layer.sources}
        if any(layer.out not in read for layer in made[:-1]) or made[-1].out in read:
            raise ModelError("the analysis writes a register that nothing reads")
        result = reader.shape(made[-1].out)
        if made[-1].op != last or (result.channels, result.rate) != (channels, 1):
            raise ModelError("the analysis does not make latents of the image's size")
        return Layers(made, given)

    stride, latents = description["stride"], description["latents"]
    levels = Shape(3, stride, LEVEL_LOW, LEVEL_HIGH)
    steps = Shape(latents, description["hyper_stride"], LOW, HIGH)
    return Analysis(
        program("g_a", "x", levels, latents, "latents"),
        program("h_a", "y", steps, description["hyper_latents"], "symbols"),
        stride,
        description["hyper_stride"],
    )
