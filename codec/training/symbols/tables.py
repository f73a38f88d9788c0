"""Frequency tables of the range coder: zero-mean Gaussians, and what an encoder is seen to put
under each.

The scale that the prior predicts picks a table, and what the table holds is free: counted symbols
code better than the Gaussian that the scale was learned with, since rate-distortion optimised
rounding leaves more zeros and the tails are longer. A decoder takes either alike. The same goes for
the points of the trellis (codec/exact/trellis.py), which is added at export.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ...exact.hyper_latents import coded
from ...exact.prior import Costs, Prior, costs_of_tables
from ...exact.quantise import Quantised, quantise, to_hyper_symbols
from ...exact.trellis import Trellis
from ...search.slopes import LOG_SCALE_STEP, SCALE_LEVELS, SCALE_MIN
from .trellis_code import CHECK_PARITY, CHECK_SHIFTED, MEMORY, state_machine

# A distribution is the counts and, as if it had been counted so often for each of its symbols, a
# Gaussian of which some mass lies wider: rare tables, and tails, stay smooth.
COUNTS_OF_GAUSSIAN = 50.0
WIDE_SHARE, WIDE = 0.02, 2.0
ROUNDS = 2  # what the encoder chooses depends on the tables

# The trellis, found on ten held-out photographs: scale index from which residuals take part (0.33
# steps), slices, and the distance of a point from the next of the other quantiser in steps.
FIRST, LENGTH, HALF_STEP = 9, 192, 0.734
NEXT, SHIFTED = state_machine(MEMORY, CHECK_SHIFTED, CHECK_PARITY)
OFFSET_SIZES = 2  # magnitudes whose points are moved to where the residuals lie
COUNTS_OF_NO_OFFSET = 1000.0

# Of the context of z_hat: fractional bits of means, and scale indexes that it tells apart (up to 13
# steps).
PHASE_BITS, HYPER_LEVELS = 3, 40

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
    """(frequencies, sizes): 64 zero-mean Gaussians, each integer symbol in -R..R (about 6 sigma)
    and an escape; 24-bit frequencies of at least 1 that sum to 2^24."""
    return tables_of_masses([gaussian(sigma, reach) for sigma, reach in levels()])


def gaussian_at(points: np.ndarray, sigma: float) -> np.ndarray:
    """Masses of the residuals nearest to each of some rising points, float64 (n,)."""
    edges = [-math.inf, *((points[1:] + points[:-1]) / 2), math.inf]
    below = np.array([0.5 * math.erfc(-v / sigma / math.sqrt(2)) for v in edges])
    return np.diff(below)


def _description(unit: int) -> tuple[dict, dict[str, np.ndarray]]:
    """What a prior says of the trellis: in its program, and in its arrays. unit: a step in fixed
    point. The tables of the shifted quantiser come between those of y and those of z_hat."""
    program = {
        "first": FIRST, "length": LENGTH, "next": NEXT, "shifted": SHIFTED,
        "half_step": round(HALF_STEP * unit), "tables": SCALE_LEVELS, "offsets": "trellis.offsets",
    }  # fmt: skip
    offsets = np.zeros((2, SCALE_LEVELS - FIRST, OFFSET_SIZES), np.int16)
    return {"trellis": program}, {"trellis.offsets": offsets}


def new_trellis(unit: int) -> Trellis:
    """The trellis that export adds, without offsets yet. unit: a step in fixed point."""
    trellis = Trellis.of(*_description(unit))
    assert trellis is not None
    return trellis


def gaussian_costs(trellis: Trellis, unit: int) -> Costs:
    """Code lengths under Gaussian tables of y, in the form of Prior.costs. unit: a step in fixed
    point."""
    masses = [gaussian_at(*shape) for shape in _shapes(trellis, unit)]
    return costs_of_tables(*tables_of_masses(masses))


def add_trellis(prior: Prior) -> Prior:
    """The same prior with larger scales quantised along a trellis: its program, Gaussian tables and
    no offsets."""
    unit = 1 << prior.mean_bits
    program, arrays = _description(unit)
    masses = [gaussian_at(*shape) for shape in _shapes(new_trellis(unit), unit)]
    frequencies, sizes = tables_of_masses(masses)
    arrays |= {"tables.frequencies": frequencies, "tables.sizes": sizes}
    return replace(prior, program=prior.program | program, arrays=prior.arrays | arrays)


def _integers(sigma: float, reach: int) -> tuple[np.ndarray, float]:
    return np.arange(-reach, reach + 1.0), sigma


def _shapes(trellis: Trellis | None, unit: int) -> list[tuple[np.ndarray, float]]:
    """(points that the values of a table stand for, in steps, and sigma) of each table of y. unit:
    a step in fixed point."""
    of_y = levels()
    shapes = [_integers(*level) for level in of_y]
    if trellis is None:
        return shapes
    for shifted in (0, 1):
        for k in range(FIRST, len(of_y)):
            sigma = of_y[k][0]
            reach = math.ceil(6 * sigma / (2 * trellis.half_step / unit))
            values = np.arange(-reach, reach + 1)
            index, kind = np.full(len(values), k), np.full(len(values), shifted)
            shape = trellis.points(values, index, kind) / unit, sigma
            if shifted:
                shapes.append(shape)
            else:
                shapes[k] = shape
    return shapes


def hyper_shapes() -> list[tuple[np.ndarray, float]]:
    """As `_shapes`, of the tables of z_hat with a context: of each phase, each scale index. A phase
    says where the mean lies among the symbols: from half a symbol below zero on."""
    shapes = []
    for phase in range(1 << PHASE_BITS):
        mean = phase / (1 << PHASE_BITS) - 0.5
        for sigma, reach in levels()[:HYPER_LEVELS]:
            points, _ = _integers(sigma, reach + 1)
            shapes.append((points - mean, sigma))
    return shapes


def tables_of_masses(masses: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(frequencies, sizes) of distributions over -R..R, each an array (2R + 1,) of masses; what
    they lack of 1 goes to the escape. 24-bit frequencies of at least 1 that sum to 2^24."""
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
    """The same prior with tables, and offsets of the trellis, that fit the symbols which an encoder
    of effort 1 chooses.

    prior: with Gaussian tables, shared by y and z; latents: of images the model may learn from. The
    tables of z_hat come behind those of y, one for each scale index that z_hat uses.
    """
    z_levels = prior.arrays["rows.z_table"]
    used = np.unique(z_levels)
    unit = 1 << prior.mean_bits
    count = len(_shapes(prior.trellis, unit))
    place = np.zeros(SCALE_LEVELS, np.uint8)
    place[used] = count + np.arange(len(used))
    of_z = [_integers(*level) for level in levels()]
    context = prior.program.get("hyper_context")
    of_context = hyper_shapes() if context else []
    for _ in range(ROUNDS):
        shapes = _shapes(prior.trellis, unit)
        y_counts, z_counts, context_counts = (
            [np.zeros(len(points)) for points, _ in s] for s in (shapes, of_z, of_context)
        )
        errors = np.zeros((2, 2, SCALE_LEVELS, OFFSET_SIZES))
        for gain_index, y, z in latents:
            quantised = quantise(prior, gain_index, y, to_hyper_symbols(z), prior.rounding_bits)
            for step in quantised.steps:
                _count(y_counts, step.values, step.tables)
            if prior.trellis is not None:
                errors += _errors(prior, y, quantised)
            for values, tables in coded(prior, gain_index, quantised.z_hat):
                if context:
                    _count(context_counts, values, tables - context["tables"])
                else:
                    _count(z_counts, values, tables)
        counts = y_counts + [z_counts[k] for k in used]
        shapes += [of_z[k] for k in used]
        masses = [_fit((n + n[::-1]) / 2, *s) for n, s in zip(counts, shapes)]
        masses += [_fit(n, *s) for n, s in zip(context_counts, of_context)]
        frequencies, sizes = tables_of_masses(masses)
        arrays = prior.arrays | {"tables.frequencies": frequencies, "tables.sizes": sizes}
        if prior.trellis is not None:
            arrays["trellis.offsets"] = _offsets(prior, errors)
        prior = replace(prior, arrays=arrays)
    arrays = prior.arrays | {"rows.z_table": place[z_levels]}
    program = prior.program
    if context:
        program = program | {"hyper_context": context | {"tables": count + len(used)}}
    return replace(prior, program=program, arrays=arrays)


def _errors(prior: Prior, y: np.ndarray, quantised: Quantised) -> np.ndarray:
    """How much nearer to the mean than their points small values of the trellis lie, in fixed
    point: sums and counts, float64 (2, quantiser 2, scales, OFFSET_SIZES)."""
    unit = 1 << prior.mean_bits
    out = np.zeros((2, 2, SCALE_LEVELS, OFFSET_SIZES))
    for step in quantised.steps:
        above = [(quantised.y_hat[place] - unit * y[place]).ravel() for place in step.places]
        size = np.abs(step.values)
        chosen = (step.index >= FIRST) & (size > 0) & (size <= OFFSET_SIZES)
        index = step.index[chosen].astype(np.int64)
        where = (step.tables[chosen] != index).astype(np.int64), index, size[chosen] - 1
        np.add.at(out[0], where, (np.concatenate(above) * np.sign(step.values))[chosen])
        np.add.at(out[1], where, 1)
    return out


def _offsets(prior: Prior, errors: np.ndarray) -> np.ndarray:
    """Offsets of the trellis, int16 (2, scales - FIRST, OFFSET_SIZES)."""
    sums, counts = errors[:, :, FIRST:]
    before = prior.arrays["trellis.offsets"]
    assert prior.trellis is not None
    return offsets_of_means(prior.trellis, sums + before * counts, counts).astype(np.int16)


def offsets_of_means(trellis: Trellis, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Offsets, whole float64, of sums and counts of how much nearer to the mean than the points
    without offset the residuals lie: less than half the way to the next point of the same
    quantiser."""
    most = trellis.half_step - 1
    return np.rint(sums / (counts + COUNTS_OF_NO_OFFSET)).clip(-most, most)


def _count(counts: list[np.ndarray], values: np.ndarray, index: np.ndarray) -> None:
    """Add int values (n,) to the counts of the tables (n,) they belong to, those in reach."""
    for k in np.unique(index):
        reach = len(counts[k]) // 2
        chosen = values[index == k]
        chosen = chosen[np.abs(chosen) <= reach]
        counts[k] += np.bincount(chosen + reach, minlength=2 * reach + 1)


def _fit(counts: np.ndarray, points: np.ndarray, sigma: float) -> np.ndarray:
    """Masses (n,) of counts and of the Gaussian that stands in where they are few."""
    narrow, wide = (gaussian_at(points, sigma * factor) for factor in (1, WIDE))
    smooth = (1 - WIDE_SHARE) * narrow + WIDE_SHARE * wide
    weight = COUNTS_OF_GAUSSIAN * len(counts)
    return (counts + weight * smooth) / (counts.sum() + weight)
