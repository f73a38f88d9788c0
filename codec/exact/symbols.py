"""Symbols in the range coder's stream: grouped by table, those beyond a table as escapes; and what
they stand for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...formats import DamagedFileError
from .coder.range_coder import make_decoder, make_encoder
from .coder.tables import Table, uniform_table
from .prior import Prior

MAX_SYMBOL = 32767
MAX_PREFIX = 16
BITS_AT_ONCE = 1 << 16
ESCAPES_AT_ONCE = 1 << 10
BIT, BYTE = uniform_table(2), uniform_table(256)


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


def reconstruct(
    prior: Prior, values: np.ndarray, index: np.ndarray, tables: np.ndarray | None = None
) -> np.ndarray:
    """What residuals stand for, float64 (n,) in fixed point: the integer, less the model's offset
    for small ones, or a point of the trellis.

    values: int (n,); index: uint8 (n,), the scale index of each; tables: int (n,), the table of
    each, another one only under the shifted quantiser of a trellis.
    """
    points = values * prior.unit
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
