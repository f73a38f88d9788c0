"""Frequency tables of the range coder: zero-mean Gaussians, and what an encoder is seen to put under each.

The scale that the prior predicts picks a table, and what the table holds is free: counted symbols code better than the
Gaussian that the scale was learned with, since rate-distortion optimised rounding leaves more zeros and the tails are
longer. A decoder takes either alike.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..bundle import Prior
from ..latents import quantise, to_symbols
from .scales import LOG_SCALE_STEP, SCALE_LEVELS, SCALE_MIN

# A distribution is the counts and, as if it had been counted so often for each of its symbols, a Gaussian of which
# some mass lies wider: rare tables, and tails, stay smooth.
COUNTS_OF_GAUSSIAN = 50.0
WIDE_SHARE, WIDE = 0.02, 2.0
ROUNDS = 2  # what the encoder chooses depends on the tables

Latents = list[tuple[int, np.ndarray, np.ndarray]]  # (gain index, y, z) as `quantise` takes them


def gaussian(sigma: float, reach: int) -> np.ndarray:
    """Masses of the integers -reach..reach, float64 (2 reach + 1,)."""

    def tail(v: float) -> float:  # mass beyond v > 0
        return 0.5 * math.erfc(v / sigma / math.sqrt(2))

    side = [tail(i - 0.5) - tail(i + 0.5) for i in range(1, reach + 1)]
    return np.array([*side[::-1], 1 - 2 * tail(0.5), *side])


def levels() -> list[tuple[float, int]]:
    """(sigma, reach of the table: about 6 sigma) of each scale index."""
    sigmas = [SCALE_MIN * math.exp(k * LOG_SCALE_STEP) for k in range(SCALE_LEVELS)]
    return [(sigma, max(1, math.ceil(6 * sigma))) for sigma in sigmas]


def gaussian_tables() -> tuple[np.ndarray, np.ndarray]:
    """(frequencies, sizes): 64 zero-mean Gaussians, each integer symbol in -R..R (about 6 sigma) and an
    escape; 24-bit frequencies of at least 1 that sum to 2^24."""
    return tables_of_masses([gaussian(sigma, reach) for sigma, reach in levels()])


def tables_of_masses(masses: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(frequencies, sizes) of distributions over -R..R, each an array (2R + 1,) of masses; what they
    lack of 1 goes to the escape. 24-bit frequencies of at least 1 that sum to 2^24."""
    total = 1 << 24
    flat, sizes = [], []
    for mass in masses:
        f = np.append(mass, max(0.0, 1 - mass.sum()))
        f = np.maximum(1, np.floor(f * total)).astype(np.int64)
        f[f.argmax()] += total - f.sum()
        if f.min() < 1:
            raise ValueError("a distribution is too flat for a 24-bit table")
        flat.append(f)
        sizes.append(len(f))
    return np.concatenate(flat).astype(np.int32), np.array(sizes, np.int32)


def fit_tables(prior: Prior, latents: Latents) -> Prior:
    """The same prior with tables that fit the symbols which an encoder of effort 1 chooses.

    prior: with Gaussian tables, shared by y and z; latents: of images the model may learn from. The tables of z_hat
    come behind those of y, one for each scale index that z_hat uses.
    """
    z_levels = prior.arrays["rows.z_table"]
    used = np.unique(z_levels)
    place = np.zeros(SCALE_LEVELS, np.uint8)
    place[used] = SCALE_LEVELS + np.arange(len(used))
    of_y = levels()
    shapes = of_y + [of_y[k] for k in used]
    for _ in range(ROUNDS):
        y_counts, z_counts = ([np.zeros(2 * reach + 1) for _, reach in of_y] for _ in range(2))
        for row, y, z in latents:
            quantised = quantise(prior, row, y, to_symbols(z), prior.rounding_bits)
            for step in quantised.steps:
                _count(y_counts, step.values, step.index)
            z_hat = quantised.z_hat
            _count(z_counts, z_hat.ravel(), np.broadcast_to(z_levels[row], z_hat.shape).ravel())
        counts = y_counts + [z_counts[k] for k in used]
        frequencies, sizes = tables_of_masses([_fit(n, *s) for n, s in zip(counts, shapes)])
        arrays = prior.arrays | {"tables.frequencies": frequencies, "tables.sizes": sizes}
        prior = replace(prior, arrays=arrays | {"rows.z_table": place[z_levels]}, weights={})
    return prior


def _count(counts: list[np.ndarray], values: np.ndarray, index: np.ndarray) -> None:
    """Add int values (n,) to the counts of the tables (n,) they belong to, those in reach."""
    for k in np.unique(index):
        reach = len(counts[k]) // 2
        chosen = values[index == k]
        chosen = chosen[np.abs(chosen) <= reach]
        counts[k] += np.bincount(chosen + reach, minlength=2 * reach + 1)


def _fit(counts: np.ndarray, sigma: float, reach: int) -> np.ndarray:
    """Masses (2 reach + 1,), symmetric, of counts and of the Gaussian that stands in where they are few."""
    smooth = (1 - WIDE_SHARE) * gaussian(sigma, reach) + WIDE_SHARE * gaussian(WIDE * sigma, reach)
    weight = COUNTS_OF_GAUSSIAN * len(counts)
    return ((counts + counts[::-1]) / 2 + weight * smooth) / (counts.sum() + weight)
