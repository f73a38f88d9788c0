"""Latents to payload and back: the order of steps, the symbols, the escapes, the check.

A payload holds, in one range-coder stream: z_hat; then for each of the four steps the residuals of
the step grouped by table, those that trellis.py quantises last; escapes after each group of
symbols; at the end an 8-bit check of y_hat.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...formats import DamagedFileError, UnsupportedError
from . import hyper_latents
from .interpreter import clamp, rescale, run
from .native.core import core_of, places_of_step
from .prior import Prior
from .range_coder import make_decoder, make_encoder
from .tables import Table, uniform_table
from .trellis import ERROR_SHARE

Places = tuple[tuple[slice, slice, slice], ...]  # slices of y that a step fills, one per cell
Residuals = Callable[[np.ndarray, np.ndarray, Places], np.ndarray]  # see `_walk`

MAX_SYMBOL = 32767
MAX_PREFIX = 16
CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))
BITS_AT_ONCE = 1 << 16
ESCAPES_AT_ONCE = 1 << 10
BIT, BYTE = uniform_table(2), uniform_table(256)


@dataclass
class Latents:
    """Decoded latents of one image.

    z_hat: int32 (hz, wz, Z). y_hat: int32 (h, w, M), fixed point with 6 fractional bits, in
    quantisation steps. bits: ideal code length under the integer tables, where they were encoded.
    """

    z_hat: np.ndarray
    y_hat: np.ndarray
    bits: float = float("nan")


def grid_of(program: dict, width: int, height: int) -> tuple[int, int, int, int]:
    """Rows and columns of the y grid, then of the z grid: sides over `stride`, then over
    `hyper_stride`, rounded up. Raises UnsupportedError for a model of another, fixed size."""
    size = program.get("size")
    if size is not None and [width, height] != size:
        raise UnsupportedError(
            f"image of {width}x{height} pixels: this model handles {size[0]}x{size[1]} only"
        )
    stride, hyper_stride = program["stride"], program["hyper_stride"]
    h, w = -(-height // stride), -(-width // stride)
    return h, w, -(-h // hyper_stride), -(-w // hyper_stride)


class SymbolWriter:
    """Codes signed integers, each under the table of its index."""

    def __init__(self, prior: Prior):
        self.coder = make_encoder()
        self.tables, self.costs = prior.tables, prior.costs
        self.bits = 0.0

    def raw(self, symbols: np.ndarray, table: Table) -> None:
        self.coder.encode(symbols, table)
        frequencies = np.asarray(table.frequencies)[symbols]
        self.bits += 24 * len(symbols) - float(np.log2(frequencies).sum())

    def code(self, values: np.ndarray, index: np.ndarray, first: int) -> None:
        """values: int (n,), |value| <= 32767; index: uint8 (n,). Symbols with index < first are not
        coded and must be zero."""
        order, spans = group(index, first)
        if not spans:
            return
        bits, centre, reaches = self.costs
        chosen, k = values[order], index[order]
        reach = reaches[k]
        outside = np.abs(chosen) > reach
        symbols = np.where(outside, reach + 1, chosen)
        self.bits += float(bits[centre[k] + symbols].sum(dtype=np.float64))
        symbols = (symbols + reach).astype(np.int32)
        for table, start, end in spans:
            self.coder.encode(symbols[start:end], self.tables[table])
        if outside.any():
            escapes: list[int] = []
            for v, r in zip(chosen[outside].tolist(), reach[outside].tolist()):
                escapes += exp_golomb(2 * (abs(v) - r - 1) + (v < 0))
            self.raw(np.array(escapes, np.int64), BIT)


class SymbolReader:
    """The mirror of SymbolWriter."""

    def __init__(self, prior: Prior, data: bytes, check: Callable[[], None] | None = None):
        self.coder, self.check = make_decoder(data), check
        self.tables, self.reaches = prior.tables, prior.costs[2]
        # symbols and their tables; a run of single bits is one bytearray, a byte each
        self.history: list[tuple[np.ndarray | bytearray, Table]] = []

    def raw(self, count: int, table: Table) -> np.ndarray:
        symbols = self.coder.decode(count, table)
        if table is not BIT:
            self.history.append((symbols, table))
        elif self.history and isinstance(self.history[-1][0], bytearray):
            self.history[-1][0].extend(symbols.astype(np.uint8).tobytes())
        else:
            self.history.append((bytearray(symbols.astype(np.uint8).tobytes()), table))
        return symbols

    def encoded_again(self) -> bytes:
        """The payload that an encoder writes for what was read so far."""
        encoder = make_encoder()
        for symbols, table in self.history:
            if isinstance(symbols, bytearray):
                bits = np.frombuffer(symbols, np.uint8)
                for start in range(0, len(bits), BITS_AT_ONCE):
                    encoder.encode(bits[start : start + BITS_AT_ONCE].astype(np.int32), table)
            else:
                encoder.encode(symbols, table)
        return encoder.finish()

    def code(self, index: np.ndarray, first: int) -> np.ndarray:
        """index: uint8 (n,) -> int32 (n,)."""
        order, spans = group(index, first)
        values = np.zeros(len(index), np.int32)
        if not spans:
            return values
        symbols = np.concatenate([self.raw(end - start, self.tables[k]) for k, start, end in spans])
        reach = self.reaches[index[order]]
        symbols = symbols - reach
        for i, at in enumerate(np.flatnonzero(symbols > reach).tolist()):
            if self.check is not None and i % ESCAPES_AT_ONCE == 0:
                self.check()
            u = self.read_exp_golomb()
            magnitude = int(reach[at]) + 1 + (u >> 1)
            if magnitude > MAX_SYMBOL:
                raise DamagedFileError("the image data holds an impossible value")
            symbols[at] = -magnitude if u & 1 else magnitude
        values[order] = symbols
        return values

    def read_exp_golomb(self) -> int:
        zeros = 0
        while not self.raw(1, BIT)[0]:
            zeros += 1
            if zeros > MAX_PREFIX:
                raise DamagedFileError("the image data holds an impossible value")
        value = 1
        for bit in self.raw(zeros, BIT).tolist():
            value = value << 1 | bit
        return value - 1


def group(index: np.ndarray, first: int) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Places whose table index is `first` or more, sorted by it (stable), and (table, start, end)
    of each table among them."""
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index)
    if first:
        order = order[counts[:first].sum() :]
        counts[:first] = 0
    used = np.flatnonzero(counts)
    counts = counts[used]
    ends = np.cumsum(counts)
    return order, list(zip(used.tolist(), (ends - counts).tolist(), ends.tolist()))


def exp_golomb(u: int) -> list[int]:
    """Order-0 Exp-Golomb bits of u >= 0: as many zeros as u + 1 has bits after its first, then
    u + 1."""
    n = u + 1
    size = n.bit_length()
    return [0] * (size - 1) + [n >> i & 1 for i in range(size - 1, -1, -1)]


def to_symbols(exact: np.ndarray, most: int = MAX_SYMBOL) -> np.ndarray:
    """Nearest integers, int32, within what can be coded; NaN, from absurd input, becomes 0."""
    finite = np.nan_to_num(exact, nan=0.0, posinf=most, neginf=-most)
    return np.clip(np.rint(finite), -most, most).astype(np.int32)


def to_hyper_symbols(z: np.ndarray) -> np.ndarray:
    """z_hat of z, int32, within what can be coded whatever a context expects."""
    return to_symbols(z, hyper_latents.MOST)


def reconstruct(
    prior: Prior, values: np.ndarray, index: np.ndarray, tables: np.ndarray | None = None
) -> np.ndarray:
    """What residuals stand for, float64 (n,) in fixed point: the integer, less the model's offset
    for small ones, or a point of the trellis.

    values: int (n,); index: uint8 (n,), the scale index of each; tables: int (n,), the table of
    each, another one only under the shifted quantiser of a trellis.
    """
    points = values * float(1 << prior.program["mean_bits"])
    offsets = prior.offsets
    if offsets is not None:
        places = np.flatnonzero(values)
        size = np.abs(values[places])
        places = places[size <= offsets.shape[1]]
        v = values[places]
        points[places] -= np.sign(v) * offsets[index[places], np.abs(v) - 1]
    if prior.trellis is not None and tables is not None:
        places = np.flatnonzero(index >= prior.trellis.first)
        scale = index[places].astype(np.int64)
        shifted = (tables[places] != scale).astype(np.int64)
        points[places] = prior.trellis.points(values[places], scale, shifted)
    return points


def choose_symbols(
    prior: Prior, exact: np.ndarray, index: np.ndarray, error_bits: float | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals to symbols: values, int32 (n,), and the table of each, int (n,).

    exact: float (n,); index: uint8 (n,), scale indexes; error_bits: what a squared error of one
    quantisation step is worth in bits, of all or float (n,) of each; None to round to the nearest.
    """
    values = to_symbols(exact)
    trellis = prior.trellis
    rest: slice | np.ndarray = slice(None) if trellis is None else index < trellis.first
    if error_bits is not None:
        part = values[rest]
        worth = error_bits[rest] if isinstance(error_bits, np.ndarray) else error_bits
        optimise_rounding(prior, exact[rest], part, index[rest], worth)
        values[rest] = part
    if trellis is None:
        return values, index
    tables = index.astype(np.int16)
    places = np.flatnonzero(index >= trellis.first)
    if len(places):
        if isinstance(error_bits, np.ndarray):
            error_bits = error_bits[places]
        if error_bits is not None:
            error_bits = error_bits * ERROR_SHARE
        one = float(1 << prior.program["mean_bits"])
        # within what can be coded under either quantiser; NaN, from absurd input, becomes 0
        most = MAX_SYMBOL - 4.0
        within = np.clip(np.nan_to_num(exact[places], nan=0.0), -most, most)
        scale = index[places]
        values[places], shifted = trellis.choose(prior.costs, within, scale, error_bits, one)
        tables[places] = trellis.tables_of(scale.astype(np.int64), shifted)
    return values, tables


def optimise_rounding(
    prior: Prior,
    exact: np.ndarray,
    values: np.ndarray,
    index: np.ndarray,
    error_bits: float | np.ndarray,
) -> None:
    """Rate-distortion optimised rounding: move values towards zero by one, in place, where that
    saves more bits than it costs in squared error.

    exact: float (n,), residuals before rounding; values: int32 (n,), after; index: table of each.
    error_bits: what a squared error of one quantisation step is worth in bits, of all or float (n,)
    of each.
    """
    bits, centre, reach = prior.costs
    places = np.flatnonzero(values)
    v, k = values[places], index[places]
    places = places[np.abs(v) <= reach[k]]
    v, k = values[places], index[places]
    if isinstance(error_bits, np.ndarray):
        error_bits = error_bits[places]
    closer = v - np.sign(v)
    error = exact[places]
    one = float(1 << prior.program["mean_bits"])
    far, near = (error - reconstruct(prior, a, k) / one for a in (closer, v))
    distortion = error_bits * (far**2 - near**2)
    saved = bits[centre[k] + v] - bits[centre[k] + closer]
    values[places] = np.where(saved > distortion, closer, v)


def _check_byte(y_hat: np.ndarray) -> int:
    return zlib.crc32(y_hat.astype("<i4").tobytes()) & 0xFF


def _walk(
    prior: Prior,
    row: int,
    z_hat: np.ndarray,
    grid: tuple[int, int],
    residuals: Residuals,
    check: Callable[[], None] | None = None,
) -> np.ndarray:
    """Run the prior over the four steps. `residuals(mean, index, places)` gives the step's
    residuals: what they stand for.

    mean: float64 (n,), fixed point; index: uint8 (n,); places: the slices of y that the step fills,
    one per cell, whose entries follow each other in C order. The residuals: float64 (n,), fixed
    point. check: called now and then. Returns y_hat, float64 (h, w, M).
    """
    program, arrays = prior.program, prior.weights
    m, one = program["latents"], float(1 << program["mean_bits"])
    if not program["steps"]:  # a factorized prior: z_hat is all there is
        return z_hat * one
    quarter = m // 4
    hidden = run(program["hyper"], arrays, row, check, z=z_hat.astype(np.float64))
    hidden = np.ascontiguousarray(hidden[: grid[0], : grid[1]])
    y_hat = np.zeros((*grid, m))
    view = np.zeros((*grid, m))
    for k, step in enumerate(program["steps"]):
        features = run(step["features"], arrays, row, check, h=hidden, view=view)
        means, indexes, places = [], [], []
        for cell, (i, j) in enumerate(CELLS):
            g = program["order"][k][cell]
            channels = slice(g * quarter, (g + 1) * quarter)
            rows = slice(2 * g * quarter, 2 * (g + 1) * quarter)
            head = features[i::2, j::2] @ arrays[step["weight"]][:, rows]
            bias = arrays[step["bias"]][rows]
            mean = head[..., :quarter].copy()
            mean = clamp(rescale(mean, step["mean_shift"], bias[:quarter]))
            mean *= arrays[program["mean_multiplier"]][row, channels]
            means.append(rescale(mean, program["mean_shift"]).ravel())
            scale = head[..., quarter:].copy()
            bias = bias[quarter:] + arrays[program["scale_bias"]][row, channels]
            scale = rescale(scale, step["scale_shift"], bias)
            scale = np.clip(scale, 0, program["scales"] - 1, out=scale)
            indexes.append(scale.astype(np.uint8).ravel())
            places.append((slice(i, None, 2), slice(j, None, 2), channels))
        mean = np.concatenate(means)
        index = np.concatenate(indexes)
        values = residuals(mean, index, tuple(places)) + mean
        start = 0
        for place in places:
            part = y_hat[place]
            part[:] = values[start : start + part.size].reshape(part.shape)
            start += part.size
            if k + 1 < len(program["steps"]):
                view_part = part * arrays[program["view_multiplier"]][row, place[2]]
                view[place] = clamp(rescale(view_part, program["view_shift"]))
    return y_hat


@dataclass
class Step:
    """What one step codes. values: int32 (n,), residuals; index: uint8 (n,), their scale indexes;
    tables: int (n,), the tables they are coded with; places: the slices of y they belong to, one
    per cell, whose entries follow each other in C order."""

    values: np.ndarray
    index: np.ndarray
    tables: np.ndarray
    places: Places


@dataclass
class Quantised:
    """Latents as a decoder will see them, and the symbols that say so.

    z_hat: int32 (hz, wz, Z); y_hat: int32 (h, w, M), fixed point; code_all: whether the surest
    symbols are coded too.
    """

    z_hat: np.ndarray
    y_hat: np.ndarray
    steps: list[Step]
    code_all: bool

    def bits(self, prior: Prior, row: int) -> float:
        """Ideal code length of the y symbols, escapes taken as long as the table's rarest."""
        bits, centre, reach = prior.costs
        total = 0.0
        for step in self.steps:
            coded = slice(None) if self.code_all else step.index >= prior.program["skip_below"]
            k = step.tables[coded]
            v = np.clip(step.values[coded], -reach[k], reach[k])
            total += float(bits[centre[k] + v].sum(dtype=np.float64))
        return total


def quantise(
    prior: Prior, row: int, y: np.ndarray, z_hat: np.ndarray, error_bits: float | np.ndarray | None
) -> Quantised:
    """Round latents step by step.

    y: float32 (h, w, M), scaled by the gain; z_hat: int32 (hz, wz, Z); row: gain index; error_bits:
    what a squared error of one quantisation step is worth in rate-distortion optimised rounding,
    everywhere or float32 (h, w) of each cell of the grid, or None to round to the nearest.
    """
    core = core_of(prior, y.shape[:2]) if prior.program["steps"] else None
    if core is not None and y.dtype == np.float32 and _exact_worth(error_bits):
        values, index, tables, y_hat, code_all = core.quantise(row, y, z_hat, error_bits)
        if prior.trellis is None:
            tables = index
        order, quarter = prior.program["order"], prior.program["latents"] // 4
        chosen = [
            Step(values[k], index[k], tables[k], places_of_step(order[k], quarter))
            for k in range(len(order))
        ]
        return Quantised(z_hat, y_hat, chosen, code_all)
    one = float(1 << prior.program["mean_bits"])
    steps: list[Step] = []
    skip = prior.program["skip_below"]

    def make_residuals(code_all: bool) -> Residuals:
        def residuals(mean: np.ndarray, index: np.ndarray, places: Places) -> np.ndarray:
            target = np.concatenate([y[place].ravel() for place in places])
            exact = target - mean / one
            worth = error_bits
            if isinstance(worth, np.ndarray):
                parts = [np.broadcast_to(worth[p[:2]][..., None], y[p].shape) for p in places]
                worth = np.concatenate([part.ravel() for part in parts])
            values, tables = choose_symbols(prior, exact, index, worth)
            if not code_all:
                sure = index < skip
                if np.abs(values[sure]).max(initial=0) > 1:
                    raise _NotSkippableError
                values[sure] = 0
            steps.append(Step(values, index, tables, places))
            return reconstruct(prior, values, index, tables)

        return residuals

    code_all = False
    try:
        y_hat = _walk(prior, row, z_hat, (y.shape[0], y.shape[1]), make_residuals(False))
    except _NotSkippableError:
        code_all = True
        steps.clear()
        y_hat = _walk(prior, row, z_hat, (y.shape[0], y.shape[1]), make_residuals(True))
    return Quantised(z_hat, y_hat.astype(np.int32), steps, code_all)


def _exact_worth(error_bits: float | np.ndarray | None) -> bool:
    """Whether the native core computes with it as NumPy does, whatever NumPy's rules of
    promotion."""
    if isinstance(error_bits, np.ndarray):
        return error_bits.dtype == np.float32
    return error_bits is None or type(error_bits) in (int, float)


def encode_latents(
    prior: Prior, row: int, y: np.ndarray, z: np.ndarray, optimise: bool = True
) -> tuple[bytes, bool, Latents]:
    """Quantise and code latents.

    y: float32 (h, w, M), scaled by the gain; z: float32 (hz, wz, Z); row: gain index; optimise:
    round for rate and distortion, not to the nearest. Returns the payload, whether all symbols were
    coded (`code_all`), and the latents as a decoder will see them.
    """
    quantised = quantise(
        prior, row, y, to_hyper_symbols(z), prior.rounding_bits if optimise else None
    )
    payload, bits = write(prior, row, quantised)
    return payload, quantised.code_all, Latents(quantised.z_hat, quantised.y_hat, bits)


class _NotSkippableError(Exception):
    """A residual that would be skipped is larger than 1."""


def write(prior: Prior, row: int, quantised: Quantised) -> tuple[bytes, float]:
    """The payload, and its ideal code length in bits (whose last digits depend on the order of a
    sum)."""
    core = core_of(prior, quantised.y_hat.shape[:2])
    if core is not None:
        return core.write(
            row, quantised.z_hat, quantised.y_hat, quantised.steps, quantised.code_all
        )
    writer = SymbolWriter(prior)
    z_hat = quantised.z_hat
    for values, tables in hyper_latents.coded(prior, row, z_hat):
        writer.code(values, tables, 0)
    first = 0 if quantised.code_all else prior.program["skip_below"]
    for step in quantised.steps:
        if prior.trellis is None:
            writer.code(step.values, step.index, first)
            continue
        rest = step.index < prior.trellis.first
        writer.code(step.values[rest], step.index[rest], first)
        for places in prior.trellis.slices(step.index):
            writer.code(step.values[places], step.tables[places], 0)
    writer.raw(np.array([_check_byte(quantised.y_hat)]), BYTE)
    return writer.coder.finish(), writer.bits


def decode_latents(
    prior: Prior,
    row: int,
    payload: bytes,
    width: int,
    height: int,
    code_all: bool,
    check: Callable[[], None] | None = None,
) -> Latents:
    """The latents of a payload; exact on every machine. check: called now and then; what it raises
    ends decoding. Raises DamagedFileError."""
    h, w, hz, wz = grid_of(prior.program, width, height)
    z_shape = (hz, wz, prior.program["hyper_latents"])
    core = core_of(prior, (h, w))
    if core is not None:
        return Latents(*core.decode(row, payload, (h, w), z_shape, code_all, check))
    reader = SymbolReader(prior, payload, check)
    z_hat = hyper_latents.decode(prior, row, z_shape, lambda tables: reader.code(tables, 0))
    first = 0 if code_all else prior.program["skip_below"]

    def residuals(mean: np.ndarray, index: np.ndarray, places: Places) -> np.ndarray:
        if check is not None:
            check()
        if prior.trellis is None:
            return reconstruct(prior, reader.code(index, first), index)
        rest = index < prior.trellis.first
        sparse = reader.code(index[rest], first)
        values, tables = prior.trellis.walk(index, lambda _, tables, __: reader.code(tables, 0))
        values[rest] = sparse
        return reconstruct(prior, values, index, tables)

    y_hat = _walk(prior, row, z_hat, (h, w), residuals, check).astype(np.int32)
    if reader.raw(1, BYTE)[0] != _check_byte(y_hat):
        raise DamagedFileError(
            "the decoded data fails its check: the file is damaged, or this machine computes "
            "wrongly"
        )
    # A payload is valid only if it is exactly what an encoder writes for these symbols, so bytes
    # left over, or not in their shortest form, are found out.
    if reader.encoded_again() != payload:
        raise DamagedFileError("the image data is longer than its content")
    return Latents(z_hat, y_hat)
