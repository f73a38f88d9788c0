"""Residuals quantised along the trellis while training, as the encoder of the exported model will
do it.

The path is the encoder's own (codec/exact/trellis.py), through Gaussian tables, the residuals of a
whole batch as one sequence. Where small values lie in truth, which export counts, is followed by
running means.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...exact.trellis import ERROR_SHARE
from ...search.slopes import SCALE_LEVELS
from .scales import level_of
from .tables import FIRST, OFFSET_SIZES, gaussian_costs, new_trellis, offsets_of_means

ONE = 64  # a step in fixed point, as in exported priors (quantise.MEAN_BITS)
KEPT = 0.998  # of what was counted before, at each call


def cells(
    values: np.ndarray, shifted: np.ndarray, half_step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest magnitude nearest to the point of a value, float64 (n,); the least one of
    zero is negative.

    values: int (n,); shifted: int (n,), 1 under the shifted quantiser; half_step: from a point to
    the next of the other quantiser.
    """
    size = np.abs(values)
    low, high = (2 * size - 1.0 - shifted) * half_step, (2 * size + 1.0 - shifted) * half_step
    # zero is a point of both quantisers: its neighbours are nearer under the shifted one
    middle = (shifted == 1) & (size == 0)
    low[middle], high[middle] = -half_step / 2, half_step / 2
    low[(shifted == 1) & (size == 1)] = half_step / 2
    return low, high


class Steering:
    """The trellis of a model in training, and where its small values lie.

    rounding: what a squared error of one step is worth in bits, as in scales.symbols_of.
    """

    def __init__(self, rounding: float):
        self.error_bits = rounding * ERROR_SHARE
        self.trellis = new_trellis(ONE)
        self.costs = gaussian_costs(self.trellis, ONE)
        # of values by quantiser, scale index and magnitude: sums, in fixed point, of how much
        # nearer to the mean than a point without offset the residual lies, and counts
        self.seen = np.zeros((2, 2, SCALE_LEVELS - FIRST, OFFSET_SIZES))

    def state_dict(self) -> dict[str, Tensor]:
        return {"seen": torch.from_numpy(self.seen)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a state, or afresh if it is that of a trellis in which other scales take
        part."""
        seen = state["seen"].numpy()
        if seen.shape == self.seen.shape:
            self.seen = seen.copy()
            self._move_points()

    @torch.no_grad()
    def steer(
        self,
        residual: Tensor,
        scale: Tensor,
        points: Tensor,
        low: Tensor,
        high: Tensor,
        learn: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise those residuals whose scale lets them take part; the others stay as they are.

        residual, scale: float32 of one shape, in quantisation steps. Given for rounding and
        returned with the trellis's choice, float32 of that shape: points, what the residuals
        become; low and high, the least and the largest magnitude that the code word stands for (low
        is negative for zero). learn: follow where small values lie.
        """
        index = level_of(scale).round().to(torch.uint8).flatten()
        places = (index >= FIRST).nonzero().flatten()
        if not len(places):
            return points, low, high
        part = index[places].cpu().numpy()
        exact = residual.flatten()[places].double().cpu().numpy()
        values, shifted = self.trellis.choose(self.costs, exact, part, self.error_bits, ONE)
        chosen = self.trellis.points(values, part.astype(np.int64), shifted) / ONE
        if learn:
            self._count(exact, part.astype(np.int64) - FIRST, values, shifted)
        least, most = cells(values, shifted, self.trellis.half_step / ONE)

        def with_chosen(old: Tensor, new: np.ndarray) -> Tensor:
            out = old.flatten().index_copy(0, places, torch.from_numpy(new).to(old))
            return out.view(old.shape)

        return with_chosen(points, chosen), with_chosen(low, least), with_chosen(high, most)

    def _count(self, exact, level, values, shifted) -> None:
        size = np.abs(values)
        near = np.flatnonzero((size > 0) & (size <= OFFSET_SIZES))
        size, shifted = size[near], shifted[near]
        point = (2 * size - shifted) * self.trellis.half_step
        below = point - exact[near] * np.sign(values[near]) * ONE
        shape = self.seen.shape[1:]
        cell = np.ravel_multi_index((shifted, level[near], size - 1), shape)
        cells = int(np.prod(shape))
        self.seen *= KEPT
        self.seen[0] += np.bincount(cell, below, cells).reshape(shape)
        self.seen[1] += np.bincount(cell, minlength=cells).reshape(shape)
        self._move_points()

    def _move_points(self) -> None:
        self.trellis = replace(self.trellis, offsets=offsets_of_means(self.trellis, *self.seen))
