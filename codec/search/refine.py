"""Latent refinement: the encoder moves the latents of one image to where they cost least, for any
decoder.

g_a and rounding choose each latent as if it stood alone. Here the quantised latents are decoded,
and the gradient of what they cost (bits + lambda 255^2 squared error) says where each should have
been; from there they are quantised anew. The idea is that of Campos et al. 2019 and of Yang et al.
2020 (SGA), who descend by hundreds of small steps; near its optimum the distortion is a parabola,
so that a step can be Newton's, and a few do. For squared errors its width is known; for what is
seen it is measured (docs/research/refinement-seen.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..cpus import blas_threads
from ..exact.hyper_latents import bits_of_z
from ..exact.interpreter import run
from ..exact.quantise import Quantised, Step, quantise
from ..exact.steps import cells_of_step, scatter
from .hyper_search import search
from .side_by_side import side_by_side
from .slopes import Head, backward, forward

if TYPE_CHECKING:
    from ...formats.tiles import Box
    from ..exact.prior import Prior
    from .distortion import LostStructure, SquaredError, Visible

# Steps of refinement at each effort; efforts 0 and 1 only round, to the nearest and rate-distortion
# optimised.
STEPS = (0, 0, 1, 2, 3, 5, 8, 12, 20, 32)
# Rounds of the search for hyper-latents that goes before.
ROUNDS = (0, 0, 3, 4, 6, 8, 12, 16, 24, 32)
# The same where the curvature is measured, for which fewer were found to be as good.
MEASURED_STEPS = (0, 0, 1, 2, 3, 4, 8, 12, 20, 32)
MEASURED_ROUNDS = (0, 0, 2, 2, 3, 3, 5, 8, 16, 24)
# Bits that a squared error of one quantisation step costs: 6 / ln 2 in theory, 7 to 8 measured.
CURVATURE = 8.7
# Weight of what latents tell as context, and shares of the way to the optimum that the first and
# the last step go: found on nine Kodak crops, the weight changed on ten held-out photographs.
CONTEXT_WEIGHT = 0.75
FIRST_SHARE, LAST_SHARE = 0.6, 0.15
# Weight of squared error in rounding, in bits, with one step and with five or more, which have seen
# what smaller values cost the picture: with 12 instead of 15 five steps gained 3.4 instead of 2.9
# %, one 0.5 instead of 2.0.
ROUNDING_BITS = 15.0, 12.0


# Where the curvature is measured: the share of the way that a step goes, how many times too stiff
# it is taken to be at first, and after steps that helped and that did not; how far a latent is
# moved at most, in quantisation steps, and the least curvature that is believed; the power with
# which a cell's curvature counts in rounding. Found on crops of four Kodak images, five steps.
MOVED_SHARE, FIRST_STIFFNESS, EASIER, HARDER = 0.25, 0.9, 0.8, 2.5
FARTHEST, LEAST_CURVATURE, CELL_POWER = 0.7, 2.0, 0.4


def rounding_bits(steps: int) -> float:
    """What a squared error of one quantisation step is worth in rounding, with so many steps of
    refinement."""
    return float(np.interp(steps, (1, 5), ROUNDING_BITS))


def refine(
    prior: Prior,
    gain_index: int,
    window: np.ndarray,
    cells: Box,
    z_hat: np.ndarray,
    distortion: SquaredError | Visible | LostStructure,
    effort: int,
    progress: Callable[[float], None],
) -> Quantised:
    """The cheapest quantisation found with an effort of 2 or more; never dearer than the first.

    window: float32 (h, w, M), latents in quantisation steps, of a tile and the margin that g_s sees
    around it, which stays as it is; cells: the tile's part. z_hat: int32 (hz, wz, Z), of the tile.
    distortion: of the window. progress: told the share that is done, 0..1, after each step.
    """
    tile = _Tile(prior, gain_index, cells.slices, window.astype(np.float32), distortion)
    # threads of ours, which products on threads of their own would only wait for
    with blas_threads(1):
        if distortion.worth is None:
            return _descend_evenly(tile, z_hat, STEPS[effort], ROUNDS[effort], progress)
        steps, rounds = MEASURED_STEPS[effort], MEASURED_ROUNDS[effort]
        return _descend_by_curvature(tile, z_hat, steps, rounds, progress)


@dataclass
class _Tile:
    """What is refined, and in `window` what g_s sees of it."""

    prior: Prior
    gain_index: int
    inside: tuple[slice, slice]
    window: np.ndarray
    distortion: SquaredError | Visible | LostStructure

    def quantised(
        self, y: np.ndarray, z_hat: np.ndarray, error_bits: float | np.ndarray
    ) -> Quantised:
        """y, quantised, which the window then holds."""
        channels = self.distortion.channels
        made = quantise(self.prior, self.gain_index, y, z_hat, error_bits, channels)
        self.window[self.inside] = made.y_hat / np.float32(self.prior.unit)
        return made

    def slope(self, last: bool = False) -> tuple[float, np.ndarray]:
        """What the window's errors are worth, and its gradient by the tile's latents. last: no
        other slope is asked for."""
        bits, gradient = self.distortion.slope(self.window, keep=not last)
        return bits, gradient[self.inside]

    def bits_of_z(self, z_hat: np.ndarray) -> float:
        return float(bits_of_z(self.prior, self.gain_index, z_hat).sum())

    def context(self, quantised: Quantised) -> np.ndarray:
        of_context = context_gradient(self.prior, self.gain_index, quantised)
        return np.float32(CONTEXT_WEIGHT) * of_context


def _descend_evenly(
    tile: _Tile, z_hat: np.ndarray, steps: int, rounds: int, progress: Callable[[float], None]
) -> Quantised:
    """Newton's steps where a squared error of one quantisation step costs the same everywhere, as
    with squared errors of pixels."""
    y = tile.window[tile.inside].copy()
    rounding = rounding_bits(steps)
    best = tile.quantised(y, z_hat, rounding)
    least = best.bits(tile.prior) + tile.bits_of_z(z_hat) + tile.distortion.bits(tile.window)
    z_hat = search(tile.prior, tile.gain_index, y, best, rounding, rounds)
    of_z = tile.bits_of_z(z_hat)
    for done, share in enumerate([*np.linspace(FIRST_SHARE, LAST_SHARE, steps), 0.0], 1):
        progress(done / (steps + 2))
        made = tile.quantised(y, z_hat, rounding)
        if share:
            bits, gradient = tile.slope(last=done == steps)
        else:
            bits = tile.distortion.bits(tile.window)
        cost = made.bits(tile.prior) + of_z + bits
        if cost < least:
            best, least = made, cost
        if share:
            gradient += tile.context(made)
            # y moves towards y_hat - gradient / (2 curvature)
            gradient *= np.float32(-0.5 / CURVATURE)
            gradient += tile.window[tile.inside]
            y += np.float32(share) * (gradient - y)
    return best


def _descend_by_curvature(
    tile: _Tile, z_hat: np.ndarray, steps: int, rounds: int, progress: Callable[[float], None]
) -> Quantised:
    """Newton's steps where errors of some cells and channels cost a hundred times as much as those
    of others, as with SSIMULACRA 2: by a curvature that is measured, no further than it may be
    trusted, and shorter from the best point so far where a step has made things worse."""
    y = tile.window[tile.inside].copy()
    rounding = rounding_bits(steps)
    worth = tile.distortion.worth
    assert worth is not None
    best = made = tile.quantised(y, z_hat, rounding * worth[tile.inside])
    bits, gradient = tile.slope(last=steps == 1)
    least = lowest = best.bits(tile.prior) + tile.bits_of_z(z_hat) + bits
    of_cells, curvature = _curvatures(gradient, tile.window[tile.inside] - y)
    z_hat = search(tile.prior, tile.gain_index, y, best, rounding, rounds)
    of_z = tile.bits_of_z(z_hat)
    spread = np.exp(CELL_POWER * (np.log(of_cells) - np.log(of_cells).mean()))
    error_bits = (rounding * spread).astype(np.float32)
    stiffness, cost = FIRST_STIFFNESS, least
    point = (y, gradient + tile.context(made), tile.window[tile.inside].copy())
    for done in range(1, steps + 1):
        progress(done / (steps + 1))
        start, downhill, from_here = point
        move = downhill / (2 * np.float32(stiffness) * curvature)
        moved = start + np.float32(MOVED_SHARE) * (
            from_here - np.clip(move, -FARTHEST, FARTHEST) - start
        )
        made = tile.quantised(moved, z_hat, error_bits)
        if done < steps:
            bits, gradient = tile.slope(last=done == steps - 1)
        else:
            bits = tile.distortion.bits(tile.window)
        cost = made.bits(tile.prior) + of_z + bits
        if cost < least:
            best, least = made, cost
        if done == steps:
            break
        if cost < lowest or done == 1:
            stiffness *= EASIER
            lowest = cost
            point = (moved, gradient + tile.context(made), tile.window[tile.inside].copy())
        else:
            stiffness *= HARDER
    return best


def _curvatures(change: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bits that a squared error of one quantisation step costs: float32 (h, w), and (h, w, M) of
    cells times channels, from how a gradient changed with its latents, both float32 (h, w, M): from
    none, where g_a has put them, which is nearly so and saves a gradient."""

    def size(axes: tuple[int, ...]) -> np.ndarray:
        ways = np.maximum(np.square(moved).sum(axes, dtype=np.float64), 1e-3)
        roots = np.sqrt(np.square(change).sum(axes, dtype=np.float64) / ways) / 2
        return np.maximum(roots, LEAST_CURVATURE).astype(np.float32)

    of_cells = size((2,))
    both = of_cells[..., None] * (size((0, 1)) / size((0, 1, 2)))
    return of_cells, np.maximum(both, np.float32(LEAST_CURVATURE))


def context_gradient(prior: Prior, gain_index: int, quantised: Quantised) -> np.ndarray:
    """How the bits of the later steps change with the latents that they see as context: float32 (h,
    w, M), bits per quantisation step. The code lengths are differentiated by their neighbours in
    the tables, the layers as if they did not round."""
    program, weights = prior.program, prior.single
    h, w, _ = shape = quantised.y_hat.shape
    hidden = run(program["hyper"], prior.weights, gain_index, z=quantised.z_hat.astype(np.float64))
    hidden = np.ascontiguousarray(hidden[:h, :w], np.float32)
    multiplier = weights[program["view_multiplier"]][gain_index] * np.float32(
        2.0 ** -program["view_shift"]
    )
    seen = quantised.y_hat.astype(np.float32) * multiplier

    def by_view(k: int) -> np.ndarray:
        """Of the code lengths of step k, by what it sees."""
        coded, view = quantised.steps[k], np.zeros(shape, np.float32)
        for earlier in quantised.steps[:k]:
            for place in earlier.places:
                view[place] = seen[place]
        layers = prior.steps[k]["features"]
        features, tape = forward(layers, weights, gain_index, h=hidden, view=view)
        by_mean, by_level = (np.empty(shape, np.float32) for _ in range(2))
        for slopes, out in zip(_table_slopes(prior, coded), (by_mean, by_level)):
            scatter(slopes, coded.places, out)
        back = np.zeros_like(features)
        for cell in cells_of_step(prior, k):
            head = Head.of(prior, gain_index, k, cell)
            place = cell.place
            back[cell.rows, cell.columns] = head.backward(by_mean[place], by_level[place])
        return backward(tape, weights, gain_index, back)["view"]

    total = np.zeros(shape, np.float32)
    later = range(1, len(prior.steps))
    for k, slopes in zip(later, side_by_side(by_view, later)):
        slopes *= multiplier * np.float32(prior.unit)
        for earlier in quantised.steps[:k]:
            for place in earlier.places:
                total[place] += slopes[place]
    return total


def _table_slopes(prior: Prior, coded: Step) -> tuple[np.ndarray, np.ndarray]:
    """Of the code lengths of a step, by the mean and by the table's index: float32 (n,) each."""
    bits, centre, reach = prior.costs
    index = coded.tables.astype(np.int64)
    most = reach[index] - 1
    v = np.clip(coded.values, -most, most)
    at = centre[index] + v
    of_mean = 0.5 * (bits[at - 1] - bits[at + 1])
    lowest, highest = np.zeros_like(index), np.full_like(index, prior.scales - 1)
    if prior.trellis is not None:
        # tables of a trellis do not follow those of other residuals, and its values are further
        # apart
        steered = coded.index >= prior.trellis.first
        shifted = index != coded.index
        lowest[steered], highest[~steered] = prior.trellis.first, prior.trellis.first - 1
        behind = prior.trellis.tables - prior.trellis.first
        lowest[shifted] += behind
        highest[shifted] += behind
        # from the point of the value below to that of the value above, in half steps: zero, which
        # both quantisers have, is nearer to the shifted values 1 and -1
        apart = 4.0 - (shifted & (np.abs(v) == 1))
        of_mean[steered] *= (2 * prior.unit / (apart * prior.trellis.half_step))[steered]
    below, above = np.maximum(index - 1, lowest), np.minimum(index + 1, highest)
    low, high = (
        bits[centre[k] + np.clip(coded.values, -reach[k], reach[k])] for k in (below, above)
    )
    return of_mean.astype(np.float32), (0.5 * (high - low)).astype(np.float32)
