"""Latents to payload and back: the order of what is coded, and the check.

A payload holds, in one range-coder stream: z_hat; then for each of the four steps the residuals of
the step grouped by table, those that trellis.py quantises last; escapes after each group of
symbols; at the end an 8-bit check of y_hat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...formats import DamagedFileError
from . import hyper_latents
from .native.core import check_byte, core_of
from .prior import Prior
from .steps import Places, grid_of, walk
from .symbols import BYTE, SymbolReader, SymbolWriter, reconstruct

if TYPE_CHECKING:
    from .quantise import Quantised


@dataclass
class Latents:
    """Decoded latents of one image.

    z_hat: int32 (hz, wz, Z). y_hat: int32 (h, w, M), fixed point with 6 fractional bits, in
    quantisation steps. bits: ideal code length under the integer tables, where they were encoded.
    """

    z_hat: np.ndarray
    y_hat: np.ndarray
    bits: float = float("nan")


def encode_latents(
    prior: Prior, gain_index: int, y: np.ndarray, z: np.ndarray, optimise: bool = True
) -> tuple[bytes, bool, Latents]:
    """Quantise and code latents.

    y: float32 (h, w, M), scaled by the gain; z: float32 (hz, wz, Z); optimise: round for rate and
    distortion, not to the nearest. Returns the payload, whether all symbols were coded
    (`code_all`), and the latents as a decoder will see them.
    """
    from .quantise import quantise, to_hyper_symbols

    quantised = quantise(
        prior, gain_index, y, to_hyper_symbols(z), prior.rounding_bits if optimise else None
    )
    payload, bits = write(prior, gain_index, quantised)
    return payload, quantised.code_all, Latents(quantised.z_hat, quantised.y_hat, bits)


def write(prior: Prior, gain_index: int, quantised: Quantised) -> tuple[bytes, float]:
    """The payload, and its ideal code length in bits (whose last digits depend on the order of a
    sum)."""
    core = core_of(prior, quantised.y_hat.shape[:2])
    if core is not None:
        return core.write(
            gain_index, quantised.z_hat, quantised.y_hat, quantised.steps, quantised.code_all
        )
    writer = SymbolWriter(prior)
    z_hat = quantised.z_hat
    for values, tables in hyper_latents.coded(prior, gain_index, z_hat):
        writer.code(values, tables, 0)
    first = 0 if quantised.code_all else prior.skip_below
    for step in quantised.steps:
        if prior.trellis is None:
            writer.code(step.values, step.index, first)
            continue
        rest = step.index < prior.trellis.first
        writer.code(step.values[rest], step.index[rest], first)
        for places in prior.trellis.slices(step.index):
            writer.code(step.values[places], step.tables[places], 0)
    writer.raw(np.array([check_byte(quantised.y_hat)]), BYTE)
    return writer.coder.finish(), writer.bits


def decode_latents(
    prior: Prior,
    gain_index: int,
    payload: bytes,
    width: int,
    height: int,
    code_all: bool,
    check: Callable[[], None] | None = None,
) -> Latents:
    """The latents of a payload; exact on every machine. check: called now and then; what it raises
    ends decoding. Raises DamagedFileError."""
    h, w, hz, wz = grid_of(prior.program, width, height)
    z_shape = (hz, wz, prior.hyper_latents)
    core = core_of(prior, (h, w))
    if core is not None:
        return Latents(*core.decode(gain_index, payload, (h, w), z_shape, code_all, check))
    reader = SymbolReader(prior, payload, check)
    z_hat = hyper_latents.decode(prior, gain_index, z_shape, lambda tables: reader.code(tables, 0))
    first = 0 if code_all else prior.skip_below

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

    y_hat = walk(prior, gain_index, z_hat, (h, w), residuals, check).astype(np.int32)
    if reader.raw(1, BYTE)[0] != check_byte(y_hat):
        raise DamagedFileError(
            "the decoded data fails its check: the file is damaged, or this machine computes "
            "wrongly"
        )
    # A payload is valid only if it is exactly what an encoder writes for these symbols, so bytes
    # left over, or not in their shortest form, are found out.
    if reader.encoded_again() != payload:
        raise DamagedFileError("the image data is longer than its content")
    return Latents(z_hat, y_hat)
