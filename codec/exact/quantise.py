"""Latents to symbols, step by step: rounded to the nearest, or for rate and distortion, or along a
trellis. The encoder's choice: whatever symbols come out, a decoder reads them alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import hyper_latents
from .native.core import core_of
from .prior import Prior
from .steps import Places, Residuals, gathered, places_of_step, walk
from .symbols import MAX_SYMBOL, reconstruct
from .trellis import ERROR_SHARE


@dataclass
class Step:
    """What one step codes. values: int32 (n,), residuals; index: uint8 (n,), their scale indexes;
    tables: int (n,), the tables they are coded with; places: the slices of y they belong to, one
    per cell, whose entries follow each other in C order."""

    values: np.ndarray
    index: np.ndarray
    tables: np.ndarray
    places: Places


@dataclass
class Quantised:
    """Latents as a decoder will see them, and the symbols that say so.

    z_hat: int32 (hz, wz, Z); y_hat: int32 (h, w, M), fixed point; code_all: whether the surest
    symbols are coded too.
    """

    z_hat: np.ndarray
    y_hat: np.ndarray
    steps: list[Step]
    code_all: bool

    def bits(self, prior: Prior) -> float:
        """Ideal code length of the y symbols, escapes taken as long as the table's rarest."""
        bits, centre, reach = prior.costs
        total = 0.0
        for step in self.steps:
            coded = slice(None) if self.code_all else step.index >= prior.skip_below
            k = step.tables[coded]
            v = np.clip(step.values[coded], -reach[k], reach[k])
            total += float(bits[centre[k] + v].sum(dtype=np.float64))
        return total


class _NotSkippableError(Exception):
    """A residual that would be skipped is larger than 1."""


def quantise(
    prior: Prior,
    gain_index: int,
    y: np.ndarray,
    z_hat: np.ndarray,
    error_bits: float | np.ndarray | None,
    channels: np.ndarray | None = None,
) -> Quantised:
    """Round latents step by step.

    y: float32 (h, w, M), scaled by the gain; z_hat: int32 (hz, wz, Z); error_bits:
    what a squared error of one quantisation step is worth in rate-distortion optimised rounding,
    everywhere or float32 (h, w) of each cell of the grid, or None to round to the nearest;
    channels: float32 (M,), what that is times in each channel.
    """
    if channels is not None and error_bits is not None:
        channels = np.ascontiguousarray(channels, np.float32)
        error_bits = np.full(y.shape[:2], error_bits, np.float32)
    else:
        channels = None
    core = core_of(prior, y.shape[:2]) if prior.steps else None
    if core is not None and y.dtype == np.float32 and _exact_worth(error_bits):
        values, index, tables, y_hat, code_all = core.quantise(
            gain_index, y, z_hat, error_bits, channels
        )
        if prior.trellis is None:
            tables = index
        chosen = [
            Step(values[k], index[k], tables[k], places_of_step(prior, k))
            for k in range(len(prior.steps))
        ]
        return Quantised(z_hat, y_hat, chosen, code_all)
    for code_all in (False, True):
        steps: list[Step] = []
        residuals = _chooser(prior, y, error_bits, channels, code_all, steps)
        try:
            y_hat = walk(prior, gain_index, z_hat, (y.shape[0], y.shape[1]), residuals)
        except _NotSkippableError:
            continue
        break
    return Quantised(z_hat, y_hat.astype(np.int32), steps, code_all)


def _chooser(
    prior: Prior,
    y: np.ndarray,
    error_bits: float | np.ndarray | None,
    channels: np.ndarray | None,
    code_all: bool,
    steps: list[Step],
) -> Residuals:
    """What `walk` asks for: chooses the symbols of a step, and adds it to `steps`. Raises
    _NotSkippableError unless all symbols are coded."""

    def residuals(mean: np.ndarray, index: np.ndarray, places: Places) -> np.ndarray:
        exact = gathered(y, places) - mean / prior.unit
        worth = error_bits
        if isinstance(worth, np.ndarray):
            worth = worth[..., None] if channels is None else worth[..., None] * channels
            worth = gathered(np.broadcast_to(worth, y.shape), places)
        values, tables = choose_symbols(prior, exact, index, worth)
        if not code_all:
            sure = index < prior.skip_below
            if np.abs(values[sure]).max(initial=0) > 1:
                raise _NotSkippableError
            values[sure] = 0
        steps.append(Step(values, index, tables, places))
        return reconstruct(prior, values, index, tables)

    return residuals


def _exact_worth(error_bits: float | np.ndarray | None) -> bool:
    """Whether the native core computes with it as NumPy does, whatever NumPy's rules of
    promotion."""
    if isinstance(error_bits, np.ndarray):
        return error_bits.dtype == np.float32
    return error_bits is None or type(error_bits) in (int, float)


def choose_symbols(
    prior: Prior, exact: np.ndarray, index: np.ndarray, error_bits: float | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals to symbols: values, int32 (n,), and the table of each, int (n,).

    exact: float (n,); index: uint8 (n,), scale indexes; error_bits: what a squared error of one
    quantisation step is worth in bits, of all or float (n,) of each; None to round to the nearest.
    """
    values = to_symbols(exact)
    trellis = prior.trellis
    rest: slice | np.ndarray = slice(None) if trellis is None else index < trellis.first
    if error_bits is not None:
        part = values[rest]
        worth = error_bits[rest] if isinstance(error_bits, np.ndarray) else error_bits
        optimise_rounding(prior, exact[rest], part, index[rest], worth)
        values[rest] = part
    if trellis is None:
        return values, index
    tables = index.astype(np.int16)
    places = np.flatnonzero(index >= trellis.first)
    if len(places):
        if isinstance(error_bits, np.ndarray):
            error_bits = error_bits[places]
        if error_bits is not None:
            error_bits = error_bits * ERROR_SHARE
        # within what can be coded under either quantiser; NaN, from absurd input, becomes 0
        most = MAX_SYMBOL - 4.0
        within = np.clip(np.nan_to_num(exact[places], nan=0.0), -most, most)
        scale = index[places]
        values[places], shifted = trellis.choose(prior.costs, within, scale, error_bits, prior.unit)
        tables[places] = trellis.tables_of(scale.astype(np.int64), shifted)
    return values, tables


def optimise_rounding(
    prior: Prior,
    exact: np.ndarray,
    values: np.ndarray,
    index: np.ndarray,
    error_bits: float | np.ndarray,
) -> None:
    """Rate-distortion optimised rounding: move values towards zero by one, in place, where that
    saves more bits than it costs in squared error.

    exact: float (n,), residuals before rounding; values: int32 (n,), after; index: table of each.
    error_bits: what a squared error of one quantisation step is worth in bits, of all or float (n,)
    of each.
    """
    bits, centre, reach = prior.costs
    places = np.flatnonzero(values)
    v, k = values[places], index[places]
    places = places[np.abs(v) <= reach[k]]
    v, k = values[places], index[places]
    if isinstance(error_bits, np.ndarray):
        error_bits = error_bits[places]
    closer = v - np.sign(v)
    error = exact[places]
    far, near = (error - reconstruct(prior, a, k) / prior.unit for a in (closer, v))
    distortion = error_bits * (far**2 - near**2)
    saved = bits[centre[k] + v] - bits[centre[k] + closer]
    values[places] = np.where(saved > distortion, closer, v)


def to_symbols(exact: np.ndarray, most: int = MAX_SYMBOL) -> np.ndarray:
    """Nearest integers, int32, within what can be coded; NaN, from absurd input, becomes 0."""
    finite = np.nan_to_num(exact, nan=0.0, posinf=most, neginf=-most)
    return np.clip(np.rint(finite), -most, most).astype(np.int32)


def to_hyper_symbols(z: np.ndarray) -> np.ndarray:
    """z_hat of z, int32, within what can be coded whatever a context expects."""
    return to_symbols(z, hyper_latents.MOST)
