"""The weights that a decoder in a browser needs, in one small file (web/README.md, "Weights").

Only the integer programs: the prior, and the synthesis where a bundle has one. Numbers are coded
losslessly, whatever the arrays are called and shaped: lines or columns by themselves, as they are
or as differences, each with a class for how large its numbers are. The upper bits of a class have a
prefix code of their own, canonical and read from the least significant bit as in deflate; the lower
ones, which are noise, stand behind it.
"""

from __future__ import annotations

import heapq
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ...models.bundle import Bundle

MAGIC = b"AEIW\1"
RUN = 64  # numbers that share a class, of a one-dimensional array or of differences
ESCAPE_BITS = 70  # about, of a number that is escaped
MOST_WEIGHED = 200_000  # numbers of an array whose classes are chosen with care
LEAST_BITS = 3  # of a class's mean magnitude, that its code sees
ESCAPE, MIDDLE, SYMBOLS = 255, 128, 256
MOST_KIND = 2 * (32 + LEAST_BITS)
LONGEST = 15
KINDS = {"int8": "|i1", "uint8": "|u1", "int16": "<i2", "int32": "<i4", "int64": "<i8"}


@dataclass
class _Coded:
    """An array as it is coded: numbers line by line, int64; kinds: their classes; first: whether a
    number begins a run."""

    transposed: int
    differences: int
    numbers: np.ndarray
    kinds: np.ndarray
    first: np.ndarray


def pack_weights(bundle: Bundle) -> bytes:
    """The file of a bundle. Raises ModelError where the bundle is damaged."""
    from ...models.bundle import read_arrays

    parts, coded = [], []
    names = ["prior"] if bundle.synthesis is None else ["prior", "synthesis"]
    for name in names:
        if name == "prior":
            assert bundle.prior  # checked
        arrays = read_arrays(bundle.path / f"{name}.safetensors")
        described = []
        for array in sorted(arrays):
            made = _code(arrays[array])
            coded.append(made)
            described.append([
                array, KINDS[str(arrays[array].dtype)], list(arrays[array].shape),
                made.transposed, made.differences,
            ])  # fmt: skip
        text = (bundle.path / f"{name}.json").read_bytes().decode()
        parts.append({"text": text, "arrays": described})
    synthesis = bundle.manifest.get("synthesis", {}).get("sha256") if len(names) == 2 else None
    head = {"name": bundle.name, "fingerprint": bundle.fingerprint.hex(), "synthesis": synthesis}
    head["halo"] = bundle.halo
    lengths = _lengths(coded)
    codes = np.array([_codes(row) for row in lengths])
    bits = np.concatenate([_bits(made, lengths, codes) for made in coded])
    header = json.dumps(head | {"parts": parts}, separators=(",", ":")).encode()
    small = zlib.compress(header, 9), zlib.compress(lengths.tobytes(), 9)
    sizes = np.array([len(header), len(small[0]), lengths.size, len(small[1])], "<u4")
    stream = np.packbits(bits, bitorder="little").tobytes()
    return b"".join([MAGIC, sizes.tobytes(), *small, stream])


def file_name(bundle: Bundle) -> str:
    """What the file of a bundle has to be called."""
    return f"{bundle.fingerprint.hex()}.aeiw"


# -- numbers --------------------------------------------------------------------------------------


def _kinds(runs: np.ndarray) -> np.ndarray:
    """Of runs of numbers, (n, k): about twice the logarithm of what is usual in them. Zeros, which
    fill the last run up, count little."""
    size = np.abs(runs).astype(np.float64)
    mean = np.clip(np.rint(2 * np.log2(np.maximum(size.mean(1), 1))), 0, MOST_KIND)
    if runs.size > MOST_WEIGHED:
        return mean.astype(np.int64)
    # few numbers, some of which are far from the others: by the bits that each class would take
    best, least = np.zeros(len(runs), np.int64), np.full(len(runs), np.inf)
    for kind in range(int(mean.max()) + 1):
        usual = 2.0 ** (kind / 2)
        bits = np.minimum(kind / 2 + 1.44 * size / usual, ESCAPE_BITS).sum(1)
        best[bits < least] = kind
        least = np.minimum(bits, least)
    return best


def _code(array: np.ndarray) -> _Coded:
    """The way of coding that promises the fewest bits."""
    matrix = array.astype(np.int64).reshape(len(array) if array.ndim > 1 else 1, -1)
    best: tuple[float, _Coded] | None = None
    for transposed in range(2 if len(matrix) > 1 else 1):
        lines = np.ascontiguousarray(matrix.T if transposed else matrix)
        for differences in range(3):
            if differences:
                lines = np.diff(lines, axis=1, prepend=0)
            run = RUN if differences or len(matrix) == 1 else lines.shape[1]
            kinds, first = _spread(lines, run)
            size = 1.44 * np.abs(lines).ravel() / 2.0 ** (kinds / 2)
            bits = float(np.minimum(kinds / 2 + size, ESCAPE_BITS).sum() + 8 * first.sum())
            if best is None or bits < best[0]:
                best = bits, _Coded(transposed, differences, lines.ravel(), kinds, first)
    assert best is not None
    return best[1]


def _spread(lines: np.ndarray, run: int) -> tuple[np.ndarray, np.ndarray]:
    """The class of each number, and whether it begins a run."""
    n = lines.shape[1]
    padded = np.pad(lines, ((0, 0), (0, -n % run)))
    kinds = np.repeat(_kinds(padded.reshape(-1, run)), run).reshape(padded.shape)[:, :n]
    first = np.arange(n) % run == 0
    return kinds.ravel(), np.tile(first, len(lines))


def _shifts(kinds: np.ndarray) -> np.ndarray:
    return np.maximum(kinds // 2 - LEAST_BITS, 0)


def _symbols(made: _Coded) -> np.ndarray:
    upper = (made.numbers >> _shifts(made.kinds)) + MIDDLE
    return np.where((upper >= 0) & (upper < ESCAPE), upper, ESCAPE)


# -- prefix codes ---------------------------------------------------------------------------------


def _lengths(coded: list[_Coded]) -> np.ndarray:
    """Bits of each class's symbols, uint8 (classes, SYMBOLS); 0 where one does not occur."""
    counts = np.zeros((MOST_KIND + 1, SYMBOLS), np.int64)
    for made in coded:
        np.add.at(counts, (made.kinds, _symbols(made)), 1)
    last = int(np.flatnonzero(counts.any(1)).max())
    return np.array([_huffman(row) for row in counts[: last + 1]], np.uint8)


def _huffman(counts: np.ndarray) -> np.ndarray:
    """Lengths of a prefix code, at most LONGEST. A symbol alone has one bit."""
    lengths = np.zeros(len(counts), np.int64)
    used = np.flatnonzero(counts)
    if len(used) < 2:
        lengths[used] = 1
        return lengths
    while True:
        heap: list[tuple[int, int, tuple[int, ...]]] = [
            (int(counts[i]), k, (int(i),)) for k, i in enumerate(used)
        ]
        heapq.heapify(heap)
        lengths[:] = 0
        for k in range(len(used), 2 * len(used) - 1):
            a, b = heapq.heappop(heap), heapq.heappop(heap)
            joined = a[2] + b[2]
            lengths[list(joined)] += 1
            heapq.heappush(heap, (a[0] + b[0], k, joined))
        if lengths.max() <= LONGEST:
            return lengths
        counts = np.where(counts > 0, counts // 2 + 1, 0)


def _codes(lengths: np.ndarray) -> np.ndarray:
    """The canonical codes of lengths, turned so that their first bit is the least significant."""
    out = np.zeros(len(lengths), np.uint64)
    code, before = 0, 0
    for i in sorted(np.flatnonzero(lengths), key=lambda i: (lengths[i], i)):
        code <<= int(lengths[i]) - before
        before = int(lengths[i])
        out[i] = int(f"{code:0{before}b}"[::-1], 2)
        code += 1
    return out


def _bits(made: _Coded, lengths: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The bits of an array, uint8."""
    symbols, shifts = _symbols(made), _shifts(made.kinds)
    escaped = symbols == ESCAPE
    numbers = made.numbers.astype(np.uint64)
    low = (numbers & 0xFFFFFFFF), numbers >> np.uint64(32)
    # a run's class, the upper bits, or all 64, or the lower bits
    values = [made.kinds, codes[made.kinds, symbols], *low, numbers]
    sizes = [8 * made.first, lengths[made.kinds, symbols], *(32 * escaped,) * 2, shifts * ~escaped]
    values = np.stack([v.astype(np.uint64) for v in values], 1).ravel()
    sizes = np.stack([s.astype(np.int64) for s in sizes], 1).ravel()
    starts = np.cumsum(sizes) - sizes
    place = np.arange(int(sizes.sum())) - np.repeat(starts, sizes)
    return (np.repeat(values, sizes) >> place.astype(np.uint64) & np.uint64(1)).astype(np.uint8)
