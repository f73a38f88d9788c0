"""Search for the hyper-latents that cost least: side information chosen by what it saves, for any
decoder.

h_a guesses z_hat from the latents. One symbol of it moves the means and scales of hundreds of
latents, so that another one, rarer or not, often pays for itself. Here the gradient of the cost
(bits of z_hat and y, and the squared error that rounding y leaves) proposes a change at every
place, all are tried at once, and those are kept whose own latents get cheaper. The latents, as
context, stay what they are meanwhile.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from ..exact.hyper_latents import bits_of_symbols, bits_of_z, symbols_of
from ..exact.quantise import Quantised
from ..exact.steps import cells_of_step
from ..exact.symbols import reconstruct
from .side_by_side import side_by_side
from .slopes import LOG_SCALE_STEP, SCALE_LEVELS, SCALE_MIN, Head, backward, forward

if TYPE_CHECKING:
    from ..exact.prior import Prior

DOUBT = 20.0  # bits that a change which did not help has to promise more, to be tried again
FINER, PER_SIGMA, FARTHEST = 4, 16, 8  # of the table of Gaussian code lengths


def search(
    prior: Prior,
    gain_index: int,
    y: np.ndarray,
    quantised: Quantised,
    error_bits: float,
    rounds: int,
) -> np.ndarray:
    """A cheaper z_hat, int32 (hz, wz, Z), found in so many rounds.

    y: float32 (h, w, M), latents in quantisation steps; quantised: the same with the z_hat to start
    from, whose y_hat serves as context; error_bits: what a squared error of one step is worth in
    bits.
    """
    costs = _Costs(prior, gain_index, y, quantised, error_bits)
    best = z_hat = quantised.z_hat
    places, channels = z_hat.shape[:2], z_hat.shape[2]
    doubt = np.zeros((2, *z_hat.shape), np.float32)
    cost, gradient = costs.slope(z_hat)
    symbols, tables = symbols_of(prior, gain_index, z_hat)
    own = bits_of_symbols(prior, symbols, tables)
    least = float(cost.sum() + own.sum())
    for _ in range(rounds):
        promise = np.stack(
            [bits_of_symbols(prior, symbols + d, tables) - own + d * gradient for d in (-1, 1)]
        )
        promise = (promise + doubt).transpose(1, 2, 0, 3).reshape(*places, 2 * channels)
        choice = promise.argmin(2)
        tried = np.take_along_axis(promise, choice[..., None], 2)[..., 0] < 0
        rows, columns = np.nonzero(tried)
        if not len(rows):
            break
        up, channel = np.divmod(choice[rows, columns], channels)
        other = z_hat.copy()
        other[rows, columns, channel] += (2 * up - 1).astype(np.int32)
        change = costs.of_places(costs.value(other) - cost)[rows, columns]
        change += (bits_of_z(prior, gain_index, other) - own).sum(2)[rows, columns]
        doubt[up, rows, columns, channel] += DOUBT
        helps = change < 0
        if helps.any():
            at = rows[helps], columns[helps], channel[helps]
            doubt[:, at[0], at[1], at[2]] = 0
            z_hat = z_hat.copy()
            z_hat[at] = other[at]
            cost, gradient = costs.slope(z_hat)
            symbols, tables = symbols_of(prior, gain_index, z_hat)
            own = bits_of_symbols(prior, symbols, tables)
            # changes side by side may be worse together than each alone
            total = float(cost.sum() + own.sum())
            if total < least:
                best, least = z_hat, total
    return best


class _Costs:
    """What the latents of an image cost under a z_hat: bits of the best symbols, and the squared
    error that they leave."""

    def __init__(self, prior: Prior, gain_index: int, y, quantised: Quantised, error_bits: float):
        self.prior, self.gain_index, self.y = prior, gain_index, y
        self.weights = prior.single
        self.z_shape = quantised.z_hat.shape
        bits, centre, reach = prior.costs
        self.bits, self.centre, self.reach = bits, centre.astype(np.int32), reach.astype(np.int32)
        self.points = _points(prior)
        self.error_bits = np.float32(error_bits)
        self.heads = [
            [Head.of(prior, gain_index, k, cell) for cell in cells_of_step(prior, k)]
            for k in range(len(prior.steps))
        ]
        multiplier = self.weights[prior.program["view_multiplier"]][gain_index]
        seen = quantised.y_hat.astype(np.float32)
        seen *= multiplier * np.float32(2.0 ** -prior.program["view_shift"])
        self.context, self.layers = [], []
        view = np.zeros_like(seen)
        for step, coded in zip(prior.steps, quantised.steps):
            # what depends on the context alone is worked out once
            count = 0
            while step["features"][count]["in"] in ("view", "f"):
                count += 1
            known = {"view": view}
            for layer in step["features"][:count]:
                known[layer["out"]] = forward([layer], self.weights, gain_index, **known)[0]
            self.layers.append(step["features"][count:])
            if not any("view" in layer["in"] for layer in self.layers[-1]):
                del known["view"]  # large
            self.context.append(known)
            view = view.copy()
            for place in coded.places:
                view[place] = seen[place]

    def of_places(self, cost: np.ndarray) -> np.ndarray:
        """Sums of float32 (h, w) over the latents below each place of z_hat: (hz, wz)."""
        s = self.prior.hyper_stride
        hz, wz = self.z_shape[:2]
        padded = np.zeros((hz * s, wz * s), np.float32)
        padded[: cost.shape[0], : cost.shape[1]] = cost
        return padded.reshape(hz, s, wz, s).sum((1, 3))

    def value(self, z_hat: np.ndarray) -> np.ndarray:
        """What each place of the latents costs, in bits: float32 (h, w)."""
        return self._run(z_hat, slopes=False)[0]

    def slope(self, z_hat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`value`, and the gradient of its sum by z_hat: float32 (hz, wz, Z)."""
        return self._run(z_hat, slopes=True)

    def _run(self, z_hat: np.ndarray, slopes: bool) -> tuple[np.ndarray, np.ndarray]:
        prior, weights, gain_index = self.prior, self.weights, self.gain_index
        h, w = self.y.shape[:2]
        z = z_hat.astype(np.float32)
        hidden, hyper_tape = forward(prior.program["hyper"], weights, gain_index, z=z)
        seen = np.ascontiguousarray(hidden[:h, :w])

        def step(k: int) -> tuple[np.ndarray, np.ndarray | None]:
            return self._step(k, seen, slopes)

        parts = side_by_side(step, range(len(self.layers)))
        cost = functools.reduce(np.add, (of_step for of_step, _ in parts))
        by_hidden = np.zeros_like(hidden)
        if not slopes:
            return cost, by_hidden
        for _, by_seen in parts:
            by_hidden[:h, :w] += by_seen
        return cost, backward(hyper_tape, weights, gain_index, by_hidden)["z"]

    def _step(self, k: int, seen: np.ndarray, slopes: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """What the latents of a step cost, float32 (h, w), and the gradient of its sum by what the
        layers before have made of z_hat."""
        features, tape = forward(
            self.layers[k], self.weights, self.gain_index, h=seen, **self.context[k]
        )
        cost = np.zeros(seen.shape[:2], np.float32)
        back = np.zeros_like(features)
        for cell, head in zip(cells_of_step(self.prior, k), self.heads[k]):
            part = features[cell.rows, cell.columns]
            residual = self.y[cell.place] - head.means(part)
            best, by_mean, by_level = self._cheapest(residual, head.levels(part))
            cost[cell.rows, cell.columns] += best.sum(2)
            if slopes:
                back[cell.rows, cell.columns] = head.backward(by_mean, by_level)
        if not slopes:
            return cost, None
        return cost, backward(tape, self.weights, self.gain_index, back)["h"]

    def _cheapest(self, residual: np.ndarray, level: np.ndarray):
        """The cost of residuals whose scale index is about `level`, and how it changes with their
        means and levels: float32 of their shape. Along the trellis, bits alone: where between two
        points a residual lies is left open."""
        size = np.abs(residual)
        last = self.prior.scales - 1
        level = np.clip(level, 0, np.float32(last))
        index = np.rint(level).astype(np.int32)
        trellis = self.prior.trellis
        out = np.zeros((3, *size.shape), np.float32)
        rest: tuple = (...,)
        if trellis is not None:
            steered = np.nonzero(index >= trellis.first)
            spacing = 2 * trellis.half_step / self.prior.unit
            out[(slice(None), *steered)] = self._between(size[steered], level[steered], spacing)
            rest, last = np.nonzero(index < trellis.first), trellis.first - 1
        out[(slice(None), *rest)] = self._rounded(size[rest], level[rest], index[rest], last)
        out[1] *= -np.sign(residual)
        return out

    def _rounded(self, size, level, index, last: int):
        """Cost, slope by magnitude, slope by level of the better of two symbols: the nearest, and
        the next one to zero."""
        reach, centre = self.reach[index], self.centre[index]
        far = np.minimum(np.rint(size).astype(np.int32), reach)
        near = np.maximum(far - 1, 0)
        errors = [size - self.points[centre + v] for v in (far, near)]
        prices = [
            self.bits[centre + v] + self.error_bits * e * e for v, e in zip((far, near), errors)
        ]
        closer = prices[1] < prices[0]
        value, error = np.where(closer, near, far), np.where(closer, errors[1], errors[0])
        # bits change linearly from one level to the next
        below = np.clip(level.astype(np.int32), 0, max(0, last - 1))
        along = np.clip(level - below, 0, 1).astype(np.float32)
        low, high = self._bits_at(below, value), self._bits_at(below + 1, value)
        price = low + along * (high - low) + self.error_bits * error * error
        return price, 2 * self.error_bits * error, high - low

    def _between(self, size, level, spacing: float):
        """The same of magnitudes that need not be those of symbols: of Gaussians, a symbol standing
        for `spacing`."""
        table, step = _gaussian_bits(spacing), np.float32(LOG_SCALE_STEP)
        sigma = np.exp(level * step) * np.float32(SCALE_MIN)
        row = np.minimum(level * FINER, len(table) - 1.001)
        column = np.minimum(size / sigma * PER_SIGMA, table.shape[1] - 1.001)
        i, j = row.astype(np.int32), column.astype(np.int32)
        down, right = row - i, column - j
        a, b, c, d = (table[i + m, j + n] for m in (0, 1) for n in (0, 1))
        low, high = a + right * (b - a), c + right * (d - c)
        by_column = b - a + down * (d - c - b + a)
        by_level = (high - low) * FINER - by_column * column * step
        return low + down * (high - low), by_column * PER_SIGMA / sigma, by_level

    def _bits_at(self, index: np.ndarray, value: np.ndarray) -> np.ndarray:
        return self.bits[self.centre[index] + np.minimum(value, self.reach[index])]


@functools.lru_cache(2)
def _gaussian_bits(width: float) -> np.ndarray:
    """-log2 of the mass that Gaussians put within half a width around a point, float32 (levels,
    points): FINER to a scale index, PER_SIGMA to a sigma, up to FARTHEST."""
    sigmas = SCALE_MIN * np.exp(np.arange((SCALE_LEVELS - 1) * FINER + 1) * LOG_SCALE_STEP / FINER)
    points = np.arange(FARTHEST * PER_SIGMA + 1) / PER_SIGMA
    half = 0.5 * width / sigmas[:, None]
    tail = np.vectorize(math.erfc, [np.float64])
    mass = 0.5 * (tail((points - half) * 0.5**0.5) - tail((points + half) * 0.5**0.5))
    return -np.log2(np.maximum(mass, 2.0**-24)).astype(np.float32)


def _points(prior: Prior) -> np.ndarray:
    """What the values of the tables of y stand for outside of a trellis, in steps, in the order of
    Prior.costs: float32."""
    _, centre, reach = prior.costs
    count = prior.scales
    points = np.zeros(int(centre[count - 1] + reach[count - 1]) + 1, np.float32)
    for table in range(count):
        values = np.arange(-reach[table], reach[table] + 1)
        at = slice(centre[table] - reach[table], centre[table] + reach[table] + 1)
        level = np.full(len(values), table, np.uint8)
        points[at] = reconstruct(prior, values, level) / prior.unit
    return points
