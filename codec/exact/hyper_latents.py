"""How z_hat is coded: each place knows the four that come before it, left and above, and expects
something.

A small program of the prior turns those four into a mean and a scale of every channel (a causal
context, as Minnen et al. 2018 have for latents). z_hat stays whole numbers: a symbol is what is
beyond the mean's whole part, and the mean's fraction, in `phases`, picks its table beside the
scale. Places whose four are known are decoded together: those of a step lie on a line that falls
two columns a row. A model without this context codes z_hat in one step, with a table per channel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .interpreter import clamp, rescale, run

if TYPE_CHECKING:
    from .prior import Prior

MEAN_MOST = 4096  # whole part of an expectation
# Of a value: an expectation, in the other direction perhaps, is taken off it
MOST = 32767 - MEAN_MOST
# rows, columns from a place to what it knows
ABOVE_AND_LEFT = ((-1, 0), (0, -1), (-1, -1), (-1, 1))


def steps(prior: Prior, h: int, w: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the places of each step, in their order."""
    rows, columns = (a.ravel() for a in np.indices((h, w)))
    if "hyper_context" not in prior.program:
        return [(rows, columns)]
    turn = 2 * rows + columns
    order = np.argsort(turn, kind="stable")
    cuts = np.flatnonzero(np.diff(turn[order])) + 1
    return [(rows[part], columns[part]) for part in np.split(order, cuts)]


def decode(
    prior: Prior,
    gain_index: int,
    shape: tuple[int, int, int],
    read: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """z_hat, int32 of a shape (hz, wz, Z). read: gives the symbols of a step, int (n,), from their
    tables, int64 (n,)."""
    z_hat = np.zeros(shape)
    seen = _Seen(prior, gain_index, shape)
    for rows, columns in steps(prior, *shape[:2]):
        base, tables = seen.expected(rows, columns)
        values = read(tables.ravel()).reshape(base.shape) + base
        z_hat[rows, columns] = values
        seen.add(values, rows, columns)
    return z_hat.astype(np.int32)


def symbols_of(prior: Prior, gain_index: int, z_hat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symbol that each value is coded as, and its table: int32 and int64 (hz, wz, Z)."""
    rows, columns = (a.ravel() for a in np.indices(z_hat.shape[:2]))
    seen = _Seen(prior, gain_index, z_hat.shape)
    seen.add(z_hat[rows, columns].astype(np.float64), rows, columns)
    base, tables = seen.expected(rows, columns)
    return z_hat - base.astype(np.int32).reshape(z_hat.shape), tables.reshape(z_hat.shape)


def coded(prior: Prior, gain_index: int, z_hat: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Symbols and tables of each step: int32 and int64 (n,)."""
    symbols, tables = symbols_of(prior, gain_index, z_hat)
    return [(symbols[at].ravel(), tables[at].ravel()) for at in steps(prior, *z_hat.shape[:2])]


def bits_of_symbols(prior: Prior, symbols: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Code length of each symbol: float32 of their shape. Those beyond the tables are out of the
    question."""
    bits, centre, reach = prior.costs
    inside = np.abs(symbols) <= reach[tables]
    return np.where(inside, bits[centre[tables] + np.where(inside, symbols, 0)], np.float32(1e6))


def bits_of_z(prior: Prior, gain_index: int, z_hat: np.ndarray) -> np.ndarray:
    """Code length of each symbol of z_hat: float32 (hz, wz, Z)."""
    return bits_of_symbols(prior, *symbols_of(prior, gain_index, z_hat))


class _Seen:
    """What is known of an image's z_hat, and what follows from it."""

    def __init__(self, prior: Prior, gain_index: int, shape: tuple[int, ...]):
        self.prior, self.gain_index = prior, gain_index
        self.context = prior.program.get("hyper_context")
        h, w, self.channels = shape
        # a row above, a column on the left and one on the right, of zeros
        self.known = np.zeros((h + 1, w + 2, self.channels if self.context else 0))

    def add(self, values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        """values: float64 (n, Z), of places."""
        if self.context:
            scaled = run(
                self.context["input"], self.prior.weights, self.gain_index, z=values[:, np.newaxis]
            )
            self.known[rows + 1, columns + 1] = scaled[:, 0]

    def expected(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of places: whole numbers that symbols are counted from, float64 (n, Z), and their tables,
        int64 (n, Z)."""
        arrays, context = self.prior.weights, self.context
        if context is None:
            shape = len(rows), self.channels
            tables = np.broadcast_to(
                arrays["rows.z_table"][self.gain_index].astype(np.int64), shape
            )
            return np.zeros(shape), tables
        view = np.concatenate(
            [self.known[rows + 1 + i, columns + 1 + j] for i, j in ABOVE_AND_LEFT], 1
        )
        features = run(context["features"], arrays, self.gain_index, view=view[:, np.newaxis])[:, 0]
        head, bias = features @ arrays[context["weight"]], arrays[context["bias"]]
        z = self.channels
        mean = clamp(rescale(head[:, :z].copy(), context["mean_shift"], bias[:z]))
        bias = bias[z:] + arrays[context["scale_bias"]][self.gain_index]
        scale = rescale(head[:, z:].copy(), context["scale_shift"], bias)
        scale = np.clip(scale, 0, context["levels"] - 1)
        phases = 1 << context["phase_bits"]
        base = rescale(mean.copy(), context["phase_bits"])
        phase = mean - base * phases + phases // 2
        tables = context["tables"] + phase * context["levels"] + scale
        return base, tables.astype(np.int64)
