"""The integer synthesis by the native core: what codec/exact/synthesis.py defines, band by band.

A program is packed once. Layers that follow each other are made one where nothing else reads what
is between them, and channels that a shuffle moves are put into the order in which they move
together.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from . import ISAS, chosen, library
from .block import LAYER, MAGIC, MOST_CHANNELS, PAD, Panels, Parts
from .team import core_threads, team

HEADER = (
    "magic", "size", "layers", "layer_count", "registers", "channels", "rate", "result_channels",
)  # fmt: skip
KINDS = {
    "conv1x1": 0, "depthwise3x3": 1, "leaky": 3, "shuffle": 4, "add": 5, "dequantise": 6, "row": 7,
    "unshuffle": 8,
}  # fmt: skip
OK, NO_MEMORY = 0, 4


class _Layer(NamedTuple):
    """A layer of a program (program.Layer), or several. leaky: slope of what follows, or 0; added:
    the register that is added then; together: of a shuffle, whether channels are in the order that
    they move in."""

    op: str
    source: str
    out: str
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    multiplier: np.ndarray | None = None
    shifts: np.ndarray | None = None
    number: int = 0
    leaky: int = 0
    added: str | None = None
    together: bool = False


def _layers(program: Any) -> list[_Layer]:
    """The layers of a program.Program."""
    out = []
    for x in program.layers:
        slope = x.number if x.op == "leaky" else 0
        added = x.sources[1] if x.op == "add" else None
        out.append(
            _Layer(
                x.op,
                x.sources[0],
                x.out,
                x.weight,
                x.bias,
                x.multiplier,
                x.shifts,
                x.number,
                slope,
                added,
            )
        )
    return out


def _readers(layers: list[_Layer]) -> Counter:
    return Counter(r for x in layers for r in (x.source, x.added) if r is not None)


def _fused(layers: list[_Layer]) -> list[_Layer]:
    """A convolution with the leaky ReLU behind it, and with the addition behind that."""
    readers = _readers(layers)
    out: dict[str, _Layer] = {}  # by the register that they write
    for x in layers:
        for source, other in ((x.source, x.added), (x.added, x.source)):
            before = out.get(source) if source is not None and readers[source] == 1 else None
            if before is None or before.op not in ("conv1x1", "depthwise3x3") or before.added:
                continue
            if x.op == "leaky" and not before.leaky:
                del out[before.out]
                x = before._replace(leaky=x.leaky, out=x.out)
                break
            if x.op == "add" and before.op == "conv1x1" and other != source:
                del out[before.out]
                x = before._replace(added=other, out=x.out)
                break
        out[x.out] = x
    return list(out.values())


def _moved_order(size: int, channels: int) -> np.ndarray:
    """What a shuffle calls channel r r c + r i + j, in the order (i, j, c)."""
    return (
        np.arange(size * size * channels).reshape(channels, size, size).transpose(1, 2, 0).ravel()
    )


def _together(layers: list[_Layer], widths: dict[str, int]) -> list[_Layer]:
    """Convolutions before and behind shuffles with their channels in the order that moves together.
    widths: channels of the registers."""
    readers = _readers(layers)
    by_out = {x.out: x for x in layers}
    for x in layers:
        if x.op == "shuffle":
            order = _moved_order(x.number, widths[x.out])
            chain, source = [], x.source
            while source in by_out and readers[source] == 1:
                before = by_out[source]
                chain.append(before)
                if before.op != "row" or before.added:
                    break
                source = before.source
            if not chain or chain[-1].op != "conv1x1" or chain[-1].added:
                continue
            for layer in chain:
                rows = layer.multiplier
                by_out[layer.out] = layer._replace(
                    weight=None if layer.weight is None else layer.weight[order],
                    bias=None if layer.bias is None else layer.bias[order],
                    multiplier=None if rows is None else rows[:, order],
                )
        elif x.op == "unshuffle":
            order = _moved_order(x.number, widths[x.source])
            behind = [y for y in by_out.values() if x.out in (y.source, y.added)]
            if any(y.op != "conv1x1" or y.added == x.out for y in behind):
                continue
            for layer in behind:
                assert layer.weight is not None
                by_out[layer.out] = layer._replace(weight=layer.weight[:, order])
        else:
            continue
        by_out[x.out] = x._replace(together=True)
    return [by_out[x.out] for x in layers]


class _Shape(NamedTuple):
    """Of a register: channels, and rows of a row of cells."""

    channels: int
    rate: int


def _shapes(program: Any) -> dict[str, _Shape]:
    """Of the registers of a program.Program."""
    first = next(x for x in program.layers if x.op == "dequantise")
    out = {"y": _Shape(first.multiplier.shape[1], 1)}
    for x in program.layers:
        of = out[x.sources[0]]
        if x.op == "conv1x1":
            of = of._replace(channels=len(x.weight))
        elif x.op == "shuffle":
            of = _Shape(of.channels // x.number**2, of.rate * x.number)
        elif x.op == "unshuffle":
            of = _Shape(of.channels * x.number**2, of.rate // x.number)
        out[x.out] = of
    return out


def pack(program: Any) -> np.ndarray | None:
    """The block of a program.Program, uint8, checked; None where there is no library or it holds no
    such program."""
    loaded = library()
    if loaded is None or loaded.aei_synthesis_fields() != len(HEADER):
        return None
    shapes = _shapes(program)
    if max(of.channels for of in shapes.values()) > MOST_CHANNELS:
        return None
    layers = _fused(_together(_layers(program), {r: of.channels for r, of in shapes.items()}))
    return _pack(layers, shapes)


def _pack(layers: list[_Layer], shapes: dict[str, _Shape]) -> np.ndarray | None:
    """The block of layers, uint8."""
    registers = {"y": 0}
    for x in layers:
        registers.setdefault(x.out, len(registers))
    parts = Parts(len(HEADER))
    put = parts.put
    table = []
    for x in layers:
        packed = dict.fromkeys(LAYER, -1) | {
            "kind": KINDS[x.op], "in": registers[x.source], "out": registers[x.out],
            "in2": -1 if x.added is None else registers[x.added], "leaky": x.leaky,
            "cin": shapes[x.source].channels, "cout": shapes[x.out].channels,
            "shift": max(1, x.number), "safe": int(x.together), "room": -1,
        }  # fmt: skip
        if x.op in ("conv1x1", "depthwise3x3"):
            assert x.weight is not None
            assert x.bias is not None
            packed |= {"safe": 1, "bias": put(x.bias.astype(np.int64))}
            if x.op == "conv1x1":
                packed["weight"] = put(Panels(x.weight))
            else:
                taps = np.zeros(10 * len(x.weight) + PAD, np.int16)
                taps[: 9 * len(x.weight)] = x.weight.transpose(1, 2, 0).ravel()
                packed["weight"] = put(taps)
        elif x.multiplier is not None:
            assert x.shifts is not None
            packed |= {"multiplier": put(x.multiplier), "weight": put(x.shifts)}
        table.append([packed[f] for f in LAYER])
    layers_at = put(np.array(table, np.int64))
    result = shapes[layers[-1].out]
    header = [
        MAGIC + 1, parts.end, layers_at, len(table), len(registers), shapes["y"].channels,
        result.rate, result.channels,
    ]  # fmt: skip
    block = parts.block(header)
    loaded = library()
    assert loaded is not None
    bad = loaded.aei_check_synthesis(ctypes.c_void_p(block.ctypes.data), ctypes.c_int64(block.size))
    return None if bad else block


class _Picture:
    """One picture on its way through a block; see aei_open_picture."""

    def __init__(self, block: np.ndarray, rate: int, gain_index: int, rows: int, width: int):
        isa, loaded = chosen(), library()
        assert isa is not None  # asked before, see `block_of`
        assert loaded is not None
        self._loaded, self._block = loaded, block  # which has to stay
        self._rate, self._width = rate, width
        self._given = self._made = 0
        opened = loaded.aei_open_picture(
            ctypes.c_void_p(block.ctypes.data), ctypes.c_int(ISAS.index(isa)),
            ctypes.c_int64(gain_index), ctypes.c_int64(rows), ctypes.c_int64(width),
            ctypes.c_int64(core_threads()),
        )  # fmt: skip
        if opened is None:
            raise MemoryError
        self._state = ctypes.c_void_p(opened)

    def feed(self, band: np.ndarray) -> np.ndarray:
        """The rows of the result, int16, that follow from a band of y_hat, int32 (n, w, M), and
        those before."""
        band = np.ascontiguousarray(band, np.int32)
        self._given += len(band)
        rows = self._given * self._rate - self._made
        out = np.empty((rows, self._width * self._rate, 3), np.int16)
        made = ctypes.c_int64(0)
        with team() as helpers:
            status = self._loaded.aei_feed_picture(
                self._state, helpers, ctypes.c_void_p(band.ctypes.data), ctypes.c_int64(len(band)),
                ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(rows), ctypes.byref(made),
            )  # fmt: skip
        if status == NO_MEMORY:
            raise MemoryError
        if status != OK:
            raise ValueError(f"aei_feed_picture: status {status}")
        self._made += made.value
        return out[: made.value]

    def close(self) -> None:
        self._loaded.aei_close_picture(self._state)


def run(
    block: np.ndarray, rate: int, bands: Iterable[np.ndarray], rows: int, gain_index: int
) -> Iterator[np.ndarray]:
    """synthesis.run by the native core: pixel units, int16 (n, rate w, 3), of a packed program.
    rate: rows of pixels of a row of y_hat. Raises UnsupportedError, see `chosen`."""
    picture = None
    try:
        for band in bands:
            if picture is None:
                picture = _Picture(block, rate, gain_index, rows, band.shape[1])
            out = picture.feed(band)
            if len(out):
                yield out
    finally:
        if picture is not None:
            picture.close()


def block_of(program: Any) -> np.ndarray | None:
    """The block of a program.Program, uint8, packed when it is first asked for; None where NumPy is
    to work. Raises UnsupportedError, see `chosen`."""
    if chosen() is None:
        return None
    if "native" not in vars(program):
        object.__setattr__(program, "native", pack(program))  # programs are frozen
    block: np.ndarray | None = program.native
    return block
