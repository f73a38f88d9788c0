"""Packs a bundle's integer prior into one block of bytes, as core.h lays it out.

What the core cannot hold (an unknown kind of layer, odd numbers of channels, numbers past int32) is
not packed: such a bundle is left to NumPy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import library
from .measure import put_panels, rows_of

if TYPE_CHECKING:
    from ..prior import Prior

MAGIC = 0x31306961
PANEL = 32  # outputs whose weights lie together
PAD = 64  # numbers that kernels may read past an end
QUICK_BITS = 9
GAIN_LEVELS = 256
MOST_CHANNELS = 2048
SLOPE = 4096  # times 2^-15: the slope of a leaky ReLU of the prior
INT16, INT32 = 1 << 15, 1 << 31
KINDS = ("conv1x1", "depthwise3x3", "row", "leaky", "shuffle", "add")
# The fields of Layer and of Header, int64 each, in their order.
LAYER = (
    "kind", "in", "in2", "out", "leaky", "shift", "cin", "cout", "safe", "room", "weight", "bias",
    "multiplier",
)  # fmt: skip
HEADER = (
    "magic", "size", "layers", "layer_count",
    "latents", "hyper_latents", "mean_bits", "skip_below", "scales", "steps", "hyper_stride",
    "mean_shift", "view_shift",
    "context", "levels", "phase_bits", "first_context_table",
    "trellis", "first", "length", "states", "half_step", "shifted_tables",
    "offset_count", "trellis_offset_count", "table_count",
    *(f"{name}.{field}" for name in ("hyper", "context_input", "context_features", *(
        f"features.{k}" for k in range(4))) for field in ("first", "count")),
    "context_mean", "context_scale",
    *(f"{name}.{k}.{cell}" for name in ("mean", "scale", "group") for k in range(4)
      for cell in range(4)),
    "mean_multiplier", "scale_bias", "view_multiplier", "context_scale_bias", "z_table",
    "starts", "sums", "quick", "bits", "offsets", "trellis_offsets", "next", "shifted",
)  # fmt: skip


class _NotPackableError(Exception):
    """Something that the core does not hold."""


def _require(condition: bool) -> None:
    if not condition:
        raise _NotPackableError


def _array(a: np.ndarray, dtype: type) -> np.ndarray:
    """As dtype, exactly."""
    if not np.can_cast(a.dtype, dtype):
        least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        _require(a.size == 0 or (int(a.min()) >= least and int(a.max()) <= most))
    return np.ascontiguousarray(a, dtype)


def _sizes(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the rows of int16 weights (D, K): the sums of magnitudes, int64 (D,), and of squares,
    float64 (D,), both exact."""
    exact = weight.astype(np.float32)  # multiplied as float64
    squares = np.einsum("ij,ij->i", exact, exact, dtype=np.float64)
    return rows_of(weight).magnitudes, squares


class Panels(NamedTuple):
    """Weights, int16 (D, K), that go into a block as (panels, pairs, PANEL, 2): outputs, and pairs
    of inputs, zeros where D and K do not fill them."""

    weight: np.ndarray

    @property
    def nbytes(self) -> int:
        d, k = self.weight.shape
        return -(-d // PANEL) * PANEL * (k + k % 2) * 2


class Parts:
    """What a block holds behind its header of so many numbers, each at a multiple of 64."""

    def __init__(self, header: int):
        self._parts: list[np.ndarray | Panels] = []
        self._header = header
        self.end = 8 * header

    def put(self, part: np.ndarray | Panels) -> int:
        """Its offset."""
        start = self.end + -self.end % 64
        self._parts.append(part)
        self.end = start + part.nbytes
        return start

    def block(self, header: list[int]) -> np.ndarray:
        """uint8 (end,), which begins at a multiple of 64."""
        block = aligned(self.end)
        at = 8 * self._header
        block[:at] = np.array(header, np.int64).view(np.uint8)
        for part in self._parts:
            start, at = at, at + -at % 64
            block[start:at] = 0
            start, at = at, at + part.nbytes
            if isinstance(part, Panels):
                put_panels(part.weight, block[start:at])
            else:
                block[start:at] = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
        return block


def aligned(size: int) -> np.ndarray:
    """Room for bytes, uint8 (size,), that begins at a multiple of 64."""
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size]


class _Writer:
    """Collects arrays and layers; `bytes` puts them behind the header."""

    def __init__(self, program: dict, arrays: dict[str, np.ndarray]):
        self.program, self.arrays = program, arrays
        self.parts = Parts(len(HEADER))
        self.put = self.parts.put
        self.header: dict[str, int] = dict.fromkeys(HEADER, 0)
        self.layers: list[dict[str, int]] = []

    def bytes(self) -> np.ndarray:
        """uint8, aligned to 64."""
        table = np.array([[layer[f] for f in LAYER] for layer in self.layers], np.int64)
        self.header["layers"], self.header["layer_count"] = self.put(table), len(self.layers)
        self.header["magic"], self.header["size"] = MAGIC, self.parts.end
        return self.parts.block([self.header[f] for f in HEADER])

    def conv(
        self, weight: np.ndarray, bias: np.ndarray, shift: int, more: int = 0,
        sizes: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> dict:  # fmt: skip
        """A layer. weight: int16 (D, K); more: the largest magnitude of what is added to the bias
        later; sizes: of the weight, if they are known."""
        _require(weight.ndim == 2 and weight.dtype == np.int16 and 1 <= shift <= 48)
        _require(max(weight.shape) <= MOST_CHANNELS)
        b = _array(bias, np.int64)
        room = INT32 - 1 - int(np.abs(b).max(initial=0)) - more - (1 << (shift - 1))
        magnitudes, squares_of_rows = sizes or _sizes(weight)
        squares = int(squares_of_rows.max())
        safe = INT16 * int(magnitudes.max()) <= room
        # |sum| <= |w| |x| <= room where |x|^2 <= room^2 / |w|^2
        most = room * room // max(squares, 1) if room >= 0 else -1
        return self.layer("conv1x1", weight.shape[1], weight.shape[0]) | {
            "shift": shift, "safe": int(safe), "room": min(most, 2**62),
            "weight": self.put(Panels(weight)), "bias": self.put(b),
        }  # fmt: skip

    def depthwise(self, weight: np.ndarray, bias: np.ndarray, shift: int) -> dict:
        """A layer. weight: int16 (C, 3, 3)."""
        _require(weight.ndim == 3 and weight.dtype == np.int16 and 1 <= shift <= 48)
        _require(len(weight) <= MOST_CHANNELS)
        c, b = len(weight), _array(bias, np.int64)
        room = INT32 - 1 - int(np.abs(b).max(initial=0)) - (1 << (shift - 1))
        sums = int(rows_of(weight).magnitudes.max())
        taps = np.zeros(10 * c + PAD, np.int16)
        taps[: 9 * c] = weight.transpose(1, 2, 0).ravel()
        return self.layer("depthwise3x3", c, c) | {
            "shift": shift, "safe": int(INT16 * sums <= room),
            "room": room // max(sums, 1) if room >= 0 else -1,
            "weight": self.put(taps), "bias": self.put(b),
        }  # fmt: skip

    def rows(self, name: str) -> tuple[int, int]:
        """The offset of an array with a row per gain index, and the largest magnitude in it."""
        a = _array(self.arrays[name], np.int32)
        _require(a.ndim == 2 and len(a) == GAIN_LEVELS)
        return self.put(a), int(np.abs(a.astype(np.int64)).max(initial=0))

    def layer(self, op: str, cin: int, cout: int) -> dict[str, int]:
        empty = dict.fromkeys(LAYER, -1) | {"kind": KINDS.index(op), "cin": cin, "cout": cout}
        return empty | {"in": 1, "out": 3, "leaky": 0, "shift": 1, "safe": 0}

    def run(self, name: str, program: list[dict], channels: dict[str, int]) -> int:
        """Packs a program. channels: of its inputs. Returns those of its result."""
        registers = {"z": 0, "h": 1, "view": 2}
        channels = dict(channels)
        first, layers = len(self.layers), []
        for step in program:
            op = step["op"]
            names = step["in"] if isinstance(step["in"], list) else [step["in"]]
            _require(op in KINDS and all(n in channels for n in names))
            _require("z" not in names or op == "row")
            c = channels[names[0]]
            if op == "conv1x1":
                weight = self.arrays[step["weight"]]
                layer = self.conv(weight, self.arrays[step["bias"]], step["shift"])
            elif op == "depthwise3x3":
                weight = self.arrays[step["weight"]]
                layer = self.depthwise(weight, self.arrays[step["bias"]], step["shift"])
            else:
                layer = self.layer(op, c, c // 4 if op == "shuffle" else c)
                layer["leaky"] = SLOPE if op == "leaky" else 0
            if op == "row":
                layer["multiplier"], layer["shift"] = (
                    self.rows(step["multiplier"])[0],
                    step["shift"],
                )
                if "bias" in step:
                    layer["bias"] = self.rows(step["bias"])[0]
            _require(layer["cin"] == c)
            out = step["out"]
            _require(out not in ("z", "h", "view"))
            registers.setdefault(out, len(registers))
            layer |= {"in": registers[names[0]], "out": registers[out]}
            if op == "add":
                layer["in2"] = registers[names[1]]
            channels[out] = layer["cout"]
            layers.append(layer)
        _require(len(registers) <= 8 and bool(layers))
        layers = fused(layers)
        self.layers += layers
        self.header[f"{name}.first"], self.header[f"{name}.count"] = first, len(layers)
        return layers[-1]["cout"]

    def head(self, name: str, layer: dict) -> None:
        self.header[name] = len(self.layers)
        self.layers.append(layer)


def fused(layers: list[dict]) -> list[dict]:
    """The same program in fewer layers: a leaky ReLU goes with the convolution before it, as does
    an addition, where nothing else reads what is between them."""
    conv, depthwise, leaky, add = (
        KINDS.index(k) for k in ("conv1x1", "depthwise3x3", "leaky", "add")
    )
    out: list[dict] = []
    for i, layer in enumerate(layers):
        before = out[-1] if out else None
        if before and before["out"] in (layer["in"], layer["in2"]):
            unread = layer["out"] == before["out"] or _is_dead(before["out"], layers[i + 1 :])
            whole = before["kind"] == conv and before["in2"] < 0
            if layer["kind"] == leaky and (whole or before["kind"] == depthwise):
                if unread and not before["leaky"]:
                    out[-1] = before | {"leaky": layer["leaky"], "out": layer["out"]}
                    continue
            elif layer["kind"] == add and whole and unread and layer["in"] != layer["in2"]:
                other = layer["in"] if layer["in2"] == before["out"] else layer["in2"]
                out[-1] = before | {"in2": other, "out": layer["out"]}
                continue
        out.append(layer)
    return out


def _is_dead(register: int, layers: Iterable[dict]) -> bool:
    """Whether layers do not read what is in a register. The program's result is another one."""
    for layer in layers:
        if register in (layer["in"], layer["in2"]):
            return False
        if layer["out"] == register:
            return True
    return True


def pack(prior: Prior) -> np.ndarray | None:
    """The block of a prior, uint8, checked; None where the core cannot run it."""
    loaded = library()
    if loaded is None:
        return None
    if (loaded.aei_header_fields(), loaded.aei_layer_fields()) != (len(HEADER), len(LAYER)):
        return None  # a library of another version
    writer = _Writer(prior.program, prior.arrays)
    try:
        _pack_tables(writer, prior, loaded)
        _pack_context(writer)
        if prior.program["steps"]:
            _pack_steps(writer)
            _pack_points(writer, prior)
    except (_NotPackableError, KeyError, IndexError, TypeError, ValueError):
        return None
    block = writer.bytes()
    bad = loaded.aei_check(ctypes.c_void_p(block.ctypes.data), ctypes.c_int64(block.size))
    return None if bad else block


def _pack_tables(writer: _Writer, prior: Prior, loaded: ctypes.CDLL) -> None:
    sizes = _array(prior.arrays["tables.sizes"].astype(np.int64), np.uint32)
    frequencies = prior.arrays["tables.frequencies"].astype(np.int64)
    count = len(sizes)
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    _require(count > 0 and int(sizes.min()) >= 2 and starts[-1] == len(frequencies))
    # sums of frequencies with a zero before each table's: the total before a table is 2^24 times
    # its number
    total = np.concatenate([[0], np.cumsum(frequencies)])
    _require(bool((total[starts] == np.arange(count + 1) << 24).all()))
    table = np.repeat(np.arange(count), sizes + 1)
    place = np.arange(len(table)) - table
    sums = _array(total[place] - (table << 24), np.uint32)
    starts = starts.astype(np.uint32)
    quick = np.empty((count, (1 << QUICK_BITS) + 1), np.uint16)
    _require(int(sizes.max()) <= 65534)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (starts, sums, quick)]
    loaded.aei_guess(pointers[0], pointers[1], ctypes.c_int64(count), pointers[2])
    header = writer.header
    header["table_count"] = count
    header["starts"], header["sums"] = writer.put(starts), writer.put(sums)
    header["quick"], header["bits"] = writer.put(quick), writer.put(prior.costs[0])
    _require(prior.costs[0].dtype == np.float32)


def _pack_context(writer: _Writer) -> None:
    program, header = writer.program, writer.header
    z = program["hyper_latents"]
    for name in ("latents", "hyper_latents", "mean_bits", "skip_below", "scales", "hyper_stride"):
        header[name] = program[name]
    header["steps"] = len(program["steps"])
    context = program.get("hyper_context")
    if context is None:
        table = _array(writer.arrays["rows.z_table"], np.uint8)
        _require(table.shape == (GAIN_LEVELS, z))
        header["z_table"] = writer.put(table)
        return
    header["context"] = 1
    _require(writer.run("context_input", context["input"], {"z": z}) == z)
    writer.run("context_features", context["features"], {"view": 4 * z})
    header["levels"], header["phase_bits"] = context["levels"], context["phase_bits"]
    header["first_context_table"] = context["tables"]
    header["context_scale_bias"], more = writer.rows(context["scale_bias"])
    weight, bias = writer.arrays[context["weight"]], writer.arrays[context["bias"]]
    _require(len(weight) == len(bias) == 2 * z)
    writer.head("context_mean", writer.conv(weight[:z], bias[:z], context["mean_shift"]))
    writer.head("context_scale", writer.conv(weight[z:], bias[z:], context["scale_shift"], more))


def _pack_steps(writer: _Writer) -> None:
    program, header = writer.program, writer.header
    m = program["latents"]
    quarter = m // 4
    _require(m % 4 == 0 and len(program["steps"]) == 4)
    hidden = writer.run("hyper", program["hyper"], {"z": program["hyper_latents"]})
    header["mean_multiplier"], most = writer.rows(program["mean_multiplier"])
    header["scale_bias"], more = writer.rows(program["scale_bias"])
    header["view_multiplier"], _ = writer.rows(program["view_multiplier"])
    header["mean_shift"], header["view_shift"] = program["mean_shift"], program["view_shift"]
    _require(most * INT16 >> program["mean_shift"] < INT32 // 2)  # means are int32
    for k, step in enumerate(program["steps"]):
        writer.run(f"features.{k}", step["features"], {"h": hidden, "view": m})
        weight, bias = writer.arrays[step["weight"]], writer.arrays[step["bias"]]
        _require(len(weight) == len(bias) == 2 * m)
        _require(weight.ndim == 2 and weight.dtype == np.int16)
        magnitudes, squares = _sizes(weight)
        for cell in range(4):
            g = program["order"][k][cell]
            header[f"group.{k}.{cell}"] = g
            of_mean = slice(2 * g * quarter, (2 * g + 1) * quarter)
            of_scale = slice((2 * g + 1) * quarter, 2 * (g + 1) * quarter)
            sizes = magnitudes[of_mean], squares[of_mean]
            layer = writer.conv(weight[of_mean], bias[of_mean], step["mean_shift"], 0, sizes)
            writer.head(f"mean.{k}.{cell}", layer)
            sizes = magnitudes[of_scale], squares[of_scale]
            layer = writer.conv(weight[of_scale], bias[of_scale], step["scale_shift"], more, sizes)
            writer.head(f"scale.{k}.{cell}", layer)


def _pack_points(writer: _Writer, prior: Prior) -> None:
    header, program = writer.header, writer.program
    offsets = np.zeros((program["scales"], 0), np.int16)
    if "offsets" in program:
        offsets = _array(writer.arrays[program["offsets"]], np.int16)
    _require(len(offsets) == program["scales"])
    header["offsets"], header["offset_count"] = writer.put(offsets), offsets.shape[1]
    trellis = prior.trellis
    if trellis is None:
        return
    near = _array(writer.arrays[program["trellis"]["offsets"]], np.int16)
    _require(near.shape[:2] == (2, program["scales"] - trellis.first))
    header |= {
        "trellis": 1, "first": trellis.first, "length": trellis.length,
        "states": len(trellis.next), "half_step": trellis.half_step,
        "shifted_tables": trellis.tables, "trellis_offset_count": near.shape[2],
        "trellis_offsets": writer.put(near), "next": writer.put(_array(trellis.next, np.uint16)),
        "shifted": writer.put(_array(trellis.shifted, np.uint8)),
    }  # fmt: skip
    _require(trellis.next.shape == (len(trellis.next), 2))
    writer.header = header


def pack_program(program: list[dict], arrays: dict, channels: dict[str, int]) -> np.ndarray:
    """A block that holds one program alone, as its `hyper`. channels: of its input, `z` or
    `view`."""
    writer = _Writer({}, arrays)
    writer.run("hyper", program, channels)
    return writer.bytes()
