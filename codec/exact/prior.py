"""The integer prior of a model: its program, its arrays, and the fingerprint that files name it
by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...formats import ModelError
from .coder.tables import Table
from .interpreter import known_answer
from .trellis import Trellis

# What a squared quantisation step of error is worth in bits to the encoder, unless a bundle says
# otherwise. At high rate theory has 6 / ln 2 = 8.7; but values also serve as context, and a model
# that was trained with rounding to the nearest codes best where little is changed: -0.8 % of rate
# at 24, 0 at 17, +1.5 at 12 (ten photographs).
ROUNDING_BITS = 24.0

Costs = tuple[np.ndarray, np.ndarray, np.ndarray]  # see `costs_of_tables`


def fingerprint(program: str, arrays: dict[str, np.ndarray]) -> bytes:
    """First 4 bytes of the SHA-256 over all that defines latents: program and arrays."""
    return sha256_of(program, arrays)[:4]


def sha256_of(program: str, arrays: dict[str, np.ndarray]) -> bytes:
    """SHA-256 of a program and its arrays: what defines latents, or pixels.

    Each array enters as name, NUL, dtype and shape as text, NUL, and its little-endian bytes in C
    order, sorted by name; the program's JSON text comes first.
    """
    digest = hashlib.sha256(program.encode() + b"\0")
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        a = a.astype(a.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{a.dtype.str} {a.shape}\0".encode())
        digest.update(a.data if a.size else b"")
    return digest.digest()


@dataclass
class Prior:
    """The integer prior of a bundle: what turns a payload into latents.

    program: dict with `latents`, `hyper_latents`, `mean_bits`, `skip_below`, `order`, `hyper`,
    `view`, `steps`. arrays: as stored (int16, int32, uint8). rounding_bits: what the encoder takes
    a squared quantisation step of error to be worth.
    """

    program: dict
    arrays: dict[str, np.ndarray]
    fingerprint: bytes
    rounding_bits: float = ROUNDING_BITS

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """The arrays as NumPy computes with them: weights and biases float64, matrices transposed.
        Raises ModelError where this machine's NumPy is inexact."""
        if not known_answer():
            raise ModelError(
                "this machine's matrix product is inexact on integers: install another NumPy build"
            )
        weights = dict(self.arrays)
        for name, a in self.arrays.items():
            if name.endswith(".weight") and a.ndim == 2:
                weights[name] = a.T.astype(np.float64)
            elif name.endswith(".weight"):
                weights[name] = np.ascontiguousarray(a.transpose(1, 2, 0), np.float64)
            elif name.endswith(".bias"):
                weights[name] = a.astype(np.float64)
        return weights

    @property
    def latents(self) -> int:
        """Channels of y."""
        return int(self.program["latents"])

    @property
    def hyper_latents(self) -> int:
        """Channels of z."""
        return int(self.program["hyper_latents"])

    @property
    def stride(self) -> int:
        """Pixels of a cell of the latents' grid, each way."""
        return int(self.program["stride"])

    @property
    def hyper_stride(self) -> int:
        """Cells that a hyper-latent stands for, each way."""
        return int(self.program["hyper_stride"])

    @property
    def mean_bits(self) -> int:
        """Fractional bits of latents in fixed point."""
        return int(self.program["mean_bits"])

    @property
    def unit(self) -> float:
        """One quantisation step in fixed point: 2^mean_bits."""
        return float(1 << self.mean_bits)

    @property
    def scales(self) -> int:
        """How many scale indexes there are."""
        return int(self.program["scales"])

    @property
    def skip_below(self) -> int:
        """The least scale index whose symbols are always coded."""
        return int(self.program["skip_below"])

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The layers and the shifts of each step; none of a factorized prior."""
        return self.program["steps"]  # type: ignore[no-any-return]

    @cached_property
    def tables(self) -> list[Table]:
        """The frequency tables, by table index; the last symbol of each is the escape."""
        sizes = self.arrays["tables.sizes"]
        ends = np.cumsum(sizes)
        flat = self.arrays["tables.frequencies"]
        return [Table(flat[end - size : end]) for end, size in zip(ends, sizes)]

    @cached_property
    def offsets(self) -> np.ndarray | None:
        """How much nearer to the mean than the integer the symbols of magnitude 1, 2, ... stand
        for: float64 (scales, N), fixed point; None for a model without."""
        name = self.program.get("offsets")
        return None if name is None else self.arrays[name].astype(np.float64)

    @cached_property
    def trellis(self) -> Trellis | None:
        """How residuals of larger scales are quantised; None for a model that rounds each by
        itself."""
        return Trellis.of(self.program, self.arrays)

    @cached_property
    def single(self) -> dict[str, np.ndarray]:
        """The weights as float32, for gradients, which only the encoder takes."""
        return {name: a.astype(np.float32) for name, a in self.weights.items()}

    @cached_property
    def native_block(self) -> np.ndarray | None:
        """The prior as the native core reads it, uint8; None where it cannot."""
        from .native.block import pack

        return pack(self)

    @cached_property
    def costs(self) -> Costs:
        """Code lengths under the tables, see `costs_of_tables`."""
        return costs_of_tables(self.arrays["tables.frequencies"], self.arrays["tables.sizes"])


def costs_of_tables(frequencies: np.ndarray, sizes: np.ndarray) -> Costs:
    """Code lengths for the encoder's decisions: (bits, centre, reach). Value v under table k costs
    bits[centre[k] + v] where |v| <= reach[k]."""
    sizes = sizes.astype(np.int64)
    reach = (sizes - 2) // 2
    # by double numbers: NumPy's logarithm of single ones differs from machine to machine in the
    # last bit
    bits = (24 - np.log2(frequencies.astype(np.float64))).astype(np.float32)
    return bits, np.cumsum(sizes) - sizes + reach, reach
