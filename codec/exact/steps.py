"""The walk over the latents: four steps, each of which knows what the steps before it gave.

A step fills a quarter of y: in each of the four cells of a 2x2 square of places, one of four groups
of channels. From the hyper-latents and what is filled already, the prior tells of every latent of a
step its mean and its scale index.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...formats import UnsupportedError
from .interpreter import clamp, rescale, run
from .prior import Prior

Place = tuple[slice, slice, slice]
Places = tuple[Place, ...]  # slices of y that a step fills, one per cell
Residuals = Callable[[np.ndarray, np.ndarray, Places], np.ndarray]  # see `walk`

CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))


def grid_of(program: dict, width: int, height: int) -> tuple[int, int, int, int]:
    """Rows and columns of the y grid, then of the z grid: sides over `stride`, then over
    `hyper_stride`, rounded up. Raises UnsupportedError for a model of another, fixed size."""
    size = program.get("size")
    if size is not None and [width, height] != size:
        raise UnsupportedError(
            f"image of {width}x{height} pixels: this model handles {size[0]}x{size[1]} only"
        )
    stride, hyper_stride = program["stride"], program["hyper_stride"]
    h, w = -(-height // stride), -(-width // stride)
    return h, w, -(-h // hyper_stride), -(-w // hyper_stride)


class Cell(NamedTuple):
    """What a step fills in one cell. rows, columns: of the places; channels: of y; mean, scale: the
    columns of the step's last matrix, that tell the means and the scale indexes of these."""

    rows: slice
    columns: slice
    channels: slice
    mean: slice
    scale: slice

    @property
    def place(self) -> Place:
        """Its slice of y."""
        return self.rows, self.columns, self.channels


def cells_of_step(prior: Prior, k: int) -> tuple[Cell, ...]:
    """The four cells of a step, in the order in which their latents follow each other."""
    quarter = prior.latents // 4
    cells = []
    for (i, j), group in zip(CELLS, prior.program["order"][k]):
        first = 2 * group * quarter
        cells.append(
            Cell(
                slice(i, None, 2),
                slice(j, None, 2),
                slice(group * quarter, (group + 1) * quarter),
                slice(first, first + quarter),
                slice(first + quarter, first + 2 * quarter),
            )
        )
    return tuple(cells)


def places_of_step(prior: Prior, k: int) -> Places:
    """The slices of y that a step fills, one per cell."""
    return tuple(cell.place for cell in cells_of_step(prior, k))


def gathered(y: np.ndarray, places: Places) -> np.ndarray:
    """What an array (h, w, M) holds at the places of a step: (n,), cell by cell, in C order."""
    return np.concatenate([y[place].ravel() for place in places])


def scatter(values: np.ndarray, places: Places, y: np.ndarray) -> None:
    """The inverse of `gathered`, into y."""
    start = 0
    for place in places:
        part = y[place]
        part[:] = values[start : start + part.size].reshape(part.shape)
        start += part.size


def walk(
    prior: Prior,
    gain_index: int,
    z_hat: np.ndarray,
    grid: tuple[int, int],
    residuals: Residuals,
    check: Callable[[], None] | None = None,
) -> np.ndarray:
    """Run the prior over the four steps. `residuals(mean, index, places)` gives the step's
    residuals: what they stand for.

    mean: float64 (n,), fixed point; index: uint8 (n,); places: the slices of y that the step fills,
    one per cell, whose entries follow each other in C order. The residuals: float64 (n,), fixed
    point. check: called now and then. Returns y_hat, float64 (h, w, M).
    """
    program, arrays = prior.program, prior.weights
    if not prior.steps:  # a factorized prior: z_hat is all there is
        return z_hat * prior.unit
    hidden = run(program["hyper"], arrays, gain_index, check, z=z_hat.astype(np.float64))
    hidden = np.ascontiguousarray(hidden[: grid[0], : grid[1]])
    y_hat = np.zeros((*grid, prior.latents))
    view = np.zeros((*grid, prior.latents))
    for k, step in enumerate(prior.steps):
        features = run(step["features"], arrays, gain_index, check, h=hidden, view=view)
        cells = cells_of_step(prior, k)
        expected = [_expected(prior, gain_index, step, cell, features) for cell in cells]
        mean = np.concatenate([mean for mean, _ in expected])
        index = np.concatenate([index for _, index in expected])
        places = tuple(cell.place for cell in cells)
        scatter(residuals(mean, index, places) + mean, places, y_hat)
        if k + 1 < len(prior.steps):
            for cell in cells:
                multiplier = arrays[program["view_multiplier"]][gain_index, cell.channels]
                part = y_hat[cell.place] * multiplier
                view[cell.place] = clamp(rescale(part, program["view_shift"]))
    return y_hat


def _expected(
    prior: Prior, gain_index: int, step: dict, cell: Cell, features: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means, float64 (n,) in fixed point, and scale indexes, uint8 (n,), of a cell's latents."""
    program, arrays = prior.program, prior.weights
    bias = arrays[step["bias"]]
    head = features[cell.rows, cell.columns] @ arrays[step["weight"]][:, _both(cell)]
    quarter = cell.mean.stop - cell.mean.start
    mean = head[..., :quarter].copy()
    mean = clamp(rescale(mean, step["mean_shift"], bias[cell.mean]))
    mean *= arrays[program["mean_multiplier"]][gain_index, cell.channels]
    mean = rescale(mean, program["mean_shift"])
    scale = head[..., quarter:].copy()
    scale_bias = bias[cell.scale] + arrays[program["scale_bias"]][gain_index, cell.channels]
    scale = rescale(scale, step["scale_shift"], scale_bias)
    scale = np.clip(scale, 0, prior.scales - 1, out=scale)
    return mean.ravel(), scale.astype(np.uint8).ravel()


def _both(cell: Cell) -> slice:
    return slice(cell.mean.start, cell.scale.stop)
