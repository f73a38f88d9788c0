"""The scales of the prior, and how a residual becomes a symbol under one: as the encoder chooses
it, for training."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ...search.slopes import LOG_SCALE_STEP, SCALE_MAX, SCALE_MIN

OFFSETS = 10  # anchors of the reconstruction offsets
OFFSET_EVERY = 4  # scale levels between them
RAREST = 2.0**-24  # mass of a table's rarest symbol


def level_of(scale: Tensor) -> Tensor:
    """Scale indexes before they are rounded, within the tables. scale: float32, in quantisation
    steps."""
    return torch.log(scale.clamp(SCALE_MIN, SCALE_MAX) / SCALE_MIN) / LOG_SCALE_STEP


def magnitude(size: Tensor, scale: Tensor, offsets: Tensor) -> Tensor:
    """What symbols of a size stand for under a scale, in quantisation steps.

    size: integers as float32, from -1; scale: float32 of the same shape; offsets: float32 (2,
    OFFSETS), how much nearer to zero than the integer symbols of size 1 (first row) and 2 are, at
    every OFFSET_EVERY-th scale level, linear between, constant beyond.
    """
    place = (level_of(scale) / OFFSET_EVERY).clamp(max=OFFSETS - 1)
    below = place.floor().long().clamp(max=OFFSETS - 2)
    share = place - below
    one, two = (row[below] * (1 - share) + row[below + 1] * share for row in offsets)
    return size - torch.where(size == 1, one, torch.where(size == 2, two, 0.0))


@torch.no_grad()
def symbols_of(residual: Tensor, scale: Tensor, rounding: float | None, offsets: Tensor) -> Tensor:
    """Residuals to integers, as float32: to the nearest where `rounding` is None, else as the
    encoder does (optimise_rounding, codec/exact/quantise.py): one less in magnitude where that
    saves more bits, under a Gaussian of this scale, than its squared error costs, a squared
    quantisation step being worth `rounding` bits.

    residual, scale: float32 of one shape; offsets: see `magnitude`.
    """
    symbols = residual.round()
    if rounding is None:
        return symbols
    size, error = symbols.abs(), residual.abs()
    inv = 0.5**0.5 / scale.clamp(SCALE_MIN, SCALE_MAX)
    edges = [torch.erfc((size + d) * inv) for d in (-1.5, -0.5, 0.5)]
    closer, own = (((a - b) / 2).clamp(min=RAREST) for a, b in itertools.pairwise(edges))
    worse = (error - magnitude(size - 1, scale, offsets)) ** 2
    worse = worse - (error - magnitude(size, scale, offsets)) ** 2
    lower = (size > 0) & (torch.log2(closer / own) > rounding * worse)
    return torch.where(lower, symbols - symbols.sign(), symbols)
