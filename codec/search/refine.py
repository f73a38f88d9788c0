"""Latent refinement: the encoder moves the latents of one image to where they cost least, for any
decoder.

g_a and rounding choose each latent as if it stood alone. Here the quantised latents are decoded,
and the gradient of what they cost (bits + lambda 255^2 squared error) says where each should have
been; from there they are quantised anew. The idea is that of Campos et al. 2019 and of Yang et al.
2020 (SGA), who descend by hundreds of small steps; near its optimum the distortion is a parabola of
known width, so that a step can be Newton's, and a few do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..exact.hyper_latents import bits_of_z
from ..exact.interpreter import run
from ..exact.quantise import Quantised, Step, quantise
from ..exact.steps import cells_of_step, scatter
from .hyper_search import search
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
    inside = cells.slices
    y = window[inside].astype(np.float32)
    window = window.astype(np.float32)
    unit = np.float32(prior.unit)
    steps, rounds = STEPS[effort], ROUNDS[effort]
    rounding = rounding_bits(steps)
    error_bits: float | np.ndarray = rounding
    curvature: float | np.ndarray = CURVATURE
    if distortion.worth is not None:
        worth = distortion.worth[inside]
        error_bits, curvature = rounding * worth, CURVATURE * worth[..., None]
    best = quantise(prior, gain_index, y, z_hat, error_bits)
    window[inside] = best.y_hat / unit
    least = best.bits(prior) + bits_of_z(prior, gain_index, z_hat).sum() + distortion.bits(window)
    z_hat = search(prior, gain_index, y, best, rounding, rounds)
    of_z = bits_of_z(prior, gain_index, z_hat).sum()
    for done, share in enumerate([*np.linspace(FIRST_SHARE, LAST_SHARE, steps), 0.0], 1):
        progress(done / (steps + 2))
        quantised = quantise(prior, gain_index, y, z_hat, error_bits)
        window[inside] = quantised.y_hat / unit
        if share:
            bits, gradient = distortion.slope(window)
        else:
            bits = distortion.bits(window)
        cost = quantised.bits(prior) + of_z + bits
        if cost < least:
            best, least = quantised, cost
        if share:
            gradient = gradient[inside]
            gradient += np.float32(CONTEXT_WEIGHT) * context_gradient(prior, gain_index, quantised)
            # y moves towards y_hat - gradient / (2 curvature)
            gradient *= np.float32(-0.5) / np.float32(curvature)
            gradient += window[inside]
            y += np.float32(share) * (gradient - y)
    return best


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
    view, total = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for k, (step, coded) in enumerate(zip(prior.steps, quantised.steps)):
        if k:
            features, tape = forward(step["features"], weights, gain_index, h=hidden, view=view)
            by_mean, by_level = (np.empty(shape, np.float32) for _ in range(2))
            for slopes, out in zip(_table_slopes(prior, coded), (by_mean, by_level)):
                scatter(slopes, coded.places, out)
            back = np.zeros_like(features)
            for cell in cells_of_step(prior, k):
                head = Head.of(prior, gain_index, k, cell)
                place = cell.place
                back[cell.rows, cell.columns] = head.backward(by_mean[place], by_level[place])
            by_view = backward(tape, weights, gain_index, back)["view"]
            by_view *= multiplier * np.float32(prior.unit)
            for earlier in quantised.steps[:k]:
                for place in earlier.places:
                    total[place] += by_view[place]
        for place in coded.places:
            view[place] = seen[place]
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
