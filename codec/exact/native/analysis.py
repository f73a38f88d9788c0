"""The integer analysis by the native core: what codec/exact/analysis.py defines, in one call
each."""

from __future__ import annotations

import ctypes
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from . import ISAS, chosen, library
from .block import LAYER, MAGIC, MOST_CHANNELS, PAD, Panels, Parts
from .synthesis import _fused, _Layer, _moved_order, _readers
from .team import team

if TYPE_CHECKING:
    from ..analysis_program import Layers

HEADER = (
    "magic", "size", "layers", "layer_count", "registers", "channels", "result_channels",
)  # fmt: skip
KINDS = {
    "conv1x1": 0, "depthwise3x3": 1, "leaky": 3, "add": 5, "row": 7, "unshuffle": 8,
    "sums": 16, "latents": 17, "asinh": 18, "neighbours": 19, "symbols": 20,
}  # fmt: skip
LEVELS = 21  # an unshuffle of levels
BY_PLACE = ("conv1x1", "leaky", "add", "row", "sums", "latents", "symbols")
OK, NO_MEMORY = 0, 4
MOST_SIDE = 1 << 15


class Block:
    """A packed program: uint8, and the channels of its result."""

    def __init__(self, memory: np.ndarray, channels: int):
        self.memory, self.channels = memory, channels


def _layers(program: Layers) -> list[_Layer]:
    out = []
    for x in program.layers:
        slope = x.number if x.op == "leaky" else 0
        added = x.sources[1] if len(x.sources) > 1 else None
        weight, bias = (x.table, None) if x.op == "asinh" else (x.weight, x.bias)
        if x.op == "latents":
            bias = x.left
        out.append(_Layer(
            x.op, x.sources[0], x.out, weight, bias, x.multiplier, x.shifts, x.number, slope, added,
        ))  # fmt: skip
    return out


def _channels(program: Layers, channels: int) -> dict[str, int]:
    """Of the registers. channels: of the input."""
    out = {program.given: channels}
    for x in program.layers:
        c = out[x.sources[0]]
        if x.op in ("conv1x1", "sums"):
            assert x.weight is not None
            c = len(x.weight)
        elif x.op == "unshuffle":
            c *= x.number**2
        elif x.op == "neighbours":
            c *= 9
        out[x.out] = c
    return out


def _moved_together(layers: list[_Layer], widths: dict[str, int]) -> list[_Layer] | None:
    """Convolutions behind an unshuffle with their channels in the order (row, column, channel);
    None where something else is behind one."""
    by_out = {x.out: x for x in layers}
    for x in layers:
        if x.op != "unshuffle":
            continue
        order = _moved_order(x.number, widths[x.source])
        for y in list(by_out.values()):
            if x.out not in (y.source, y.added):
                continue
            if y.op not in ("conv1x1", "sums") or y.added == x.out:
                return None
            assert y.weight is not None
            by_out[y.out] = y._replace(weight=y.weight[:, order])
    return [by_out[x.out] for x in layers]


def _whole(layers: list[_Layer]) -> list[bool]:
    """Whether the output of each layer is kept whole: it is, unless the next layer alone reads it,
    place by place."""
    readers = _readers(layers)
    out = [True] * len(layers)
    for i, (x, y) in enumerate(pairwise(layers)):
        out[i] = not (readers[x.out] == 1 and y.source == x.out and y.op in BY_PLACE)
    return out


def _pack(program: Layers) -> Block | None:
    loaded = library()
    if loaded is None or not hasattr(loaded, "aei_analysis_fields"):
        return None
    if loaded.aei_analysis_fields() != len(HEADER):
        return None
    given = 3
    if program.given == "y":  # the first convolution says how many there are
        first = next(x for x in program.layers if x.op in ("conv1x1", "sums"))
        assert first.weight is not None
        given = first.weight.shape[1]
    widths = _channels(program, given)
    layers = _moved_together(_fused(_layers(program)), widths)
    if layers is None or max(widths.values()) > MOST_CHANNELS:
        return None
    registers = {program.given: 0}
    for x in layers:
        registers[x.out] = len(registers)
    parts = Parts(len(HEADER))
    put = parts.put
    table = []
    for x, whole in zip(layers, _whole(layers)):
        kind = LEVELS if x.op == "unshuffle" and x.source == "x" else KINDS[x.op]
        packed = dict.fromkeys(LAYER, -1) | {
            "kind": kind, "in": registers[x.source], "out": registers[x.out],
            "in2": -1 if x.added is None else registers[x.added], "leaky": x.leaky,
            "cin": widths[x.source], "cout": widths[x.out], "shift": max(1, x.number),
            "safe": 1, "room": int(whole),
        }  # fmt: skip
        if x.op in ("conv1x1", "sums", "depthwise3x3"):
            assert x.weight is not None
            assert x.bias is not None
            packed["bias"] = put(x.bias.astype(np.int64))
            if x.op == "depthwise3x3":
                taps = np.zeros(10 * len(x.weight) + PAD, np.int16)
                taps[: 9 * len(x.weight)] = x.weight.transpose(1, 2, 0).ravel()
                packed["weight"] = put(taps)
            else:
                packed["weight"] = put(Panels(x.weight))
        elif x.multiplier is not None:
            assert x.shifts is not None
            packed |= {"multiplier": put(x.multiplier), "weight": put(x.shifts)}
            if x.bias is not None:
                packed["bias"] = put(x.bias)
        elif x.weight is not None:
            packed["weight"] = put(x.weight)
        table.append([packed[f] for f in LAYER])
    layers_at = put(np.array(table, np.int64))
    result = widths[layers[-1].out]
    memory = parts.block(
        [MAGIC + 2, parts.end, layers_at, len(table), len(registers), given, result]
    )
    bad = loaded.aei_check_analysis(
        ctypes.c_void_p(memory.ctypes.data), ctypes.c_int64(memory.size)
    )
    return None if bad else Block(memory, result)


def block_of(program: Layers) -> Block | None:
    """The block of a program, packed when it is first asked for; None where NumPy is to work.
    Raises UnsupportedError, see `chosen`."""
    if chosen() is None:
        return None
    if "native" not in vars(program):
        object.__setattr__(program, "native", _pack(program))  # programs are frozen
    return vars(program)["native"]


def run(block: Block, given: np.ndarray, shape: tuple[int, int], gain_index: int) -> np.ndarray:
    """The result, int32 (*shape, channels), of levels, uint8 (H, W, 3), or of latents, int32 (h, w,
    M)."""
    isa, loaded = chosen(), library()
    assert isa is not None  # asked before, see `block_of`
    assert loaded is not None
    given = np.ascontiguousarray(given, np.uint8 if given.dtype == np.uint8 else np.int32)
    out = np.empty((*shape, block.channels), np.int32)
    with team() as helpers:
        status = loaded.aei_analyse(
            ctypes.c_void_p(block.memory.ctypes.data), ctypes.c_int(ISAS.index(isa)), helpers,
            ctypes.c_int64(gain_index), ctypes.c_void_p(given.ctypes.data),
            ctypes.c_int64(given.shape[0]), ctypes.c_int64(given.shape[1]),
            ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(out.size),
        )  # fmt: skip
    if status == NO_MEMORY:
        raise MemoryError
    if status != OK:
        raise ValueError(f"aei_analyse: status {status}")
    return out
