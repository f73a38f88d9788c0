"""One tile of an image to symbols: analysed, and quantised as the effort and the tune say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...formats.tiles import Box
from ..exact import analysis
from ..exact.quantise import Quantised, quantise, to_hyper_symbols
from ..exact.synthesis import bands_of, run, units_of
from ..pixels.images import Picture, fill_transparent, padded_levels, to_network
from .refine import STEPS, refine

if TYPE_CHECKING:
    from ..models.model import Model
    from .distortion import LostStructure, SquaredError, Visible

ANALYSING = 0.6  # share of the time of analysis and rounding


@dataclass(frozen=True)
class TileView:
    """What the encoder sees of a tile.

    levels: uint8 (H, W, 3), the tile with its margin, sides multiples of the stride. cells: the
    tile's, in the grid over that. width, height: of the tile in pixels. alpha: uint8 (height,
    width), or None.
    """

    levels: np.ndarray
    cells: Box
    width: int
    height: int
    alpha: np.ndarray | None = None

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the tile's own cells."""
        return self.cells.slices

    def own(self, stride: int) -> Box:
        """The tile's own pixels among the levels."""
        return Box(stride * self.cells.left, stride * self.cells.top, self.width, self.height)


@dataclass(frozen=True)
class Choices:
    """How tiles are quantised. effort: 0..9, see refine.STEPS; tune: what is saved, what shows
    (ssimulacra2), squared error (psnr) or structure (ms-ssim). bits_per_error: what a squared error
    of 1 is worth (see Bundle.bits_per_error); a model without is not refined."""

    gain_index: int
    effort: int
    tune: str
    bits_per_error: float | None


def read_tile(picture: Picture, box: Box, stride: int, halo: int) -> TileView:
    """The view of a box of a picture. halo: cells of its margin, as far as there is a picture."""
    window = box.grown(halo * stride, Box(0, 0, *picture.size))
    colour, alpha = picture.read(window)
    if alpha is not None:
        colour = fill_transparent(colour, alpha)
        alpha = alpha[box.within(window)]
    tile, outer = box.cells(stride), window.cells(stride)
    cells = Box(tile.left - outer.left, tile.top - outer.top, tile.width, tile.height)
    return TileView(padded_levels(colour, stride), cells, box.width, box.height, alpha)


def quantise_tile(
    model: Model, tile: TileView, choices: Choices, progress: Callable[[float], None]
) -> Quantised:
    """The latents of a tile, and the symbols that say them. The float transforms are loaded where
    the bundle has no integer analysis, and to refine. progress: told the share that is done, 0..1,
    a few times."""
    window, z_hat = analysed(model, tile, choices.gain_index)
    if STEPS[choices.effort] and choices.bits_per_error is not None:
        distortion = distortion_of(model, tile, choices, choices.bits_per_error)
        return refine(
            model.prior, choices.gain_index, window, tile.cells, z_hat, distortion, choices.effort,
            progress,
        )  # fmt: skip
    progress(ANALYSING)
    y = np.ascontiguousarray(window[tile.inside])
    error_bits: float | np.ndarray | None = None
    channels = None
    if choices.effort:
        error_bits = model.prior.rounding_bits
        if choices.tune == "ssimulacra2":
            from .masking import worth_of_levels

            worth = worth_of_levels(tile.levels, model.prior.stride)
            error_bits = error_bits * worth[tile.inside]
            channels = model.bundle.worth_of_channels(choices.gain_index)
    return quantise(model.prior, choices.gain_index, y, z_hat, error_bits, channels)


def analysed(model: Model, tile: TileView, gain_index: int) -> tuple[np.ndarray, np.ndarray]:
    """Latents of a tile and its margin, float32 (h, w, M) in quantisation steps; z_hat of the tile
    alone, int32 (hz, wz, Z)."""
    found = model.bundle.analysis
    if found is None:
        transforms = model.transforms
        window = transforms.analysis(to_network(tile.levels, model.prior.stride), gain_index)
        y = np.ascontiguousarray(window[tile.inside])
        return window, to_hyper_symbols(transforms.hyper_analysis(y, gain_index))
    whole = analysis.latents(found, tile.levels, gain_index)
    z_hat = analysis.hyper_symbols(found, np.ascontiguousarray(whole[tile.inside]), gain_index)
    return analysis.in_steps(whole), z_hat


def distortion_of(
    model: Model, tile: TileView, choices: Choices, bits_per_error: float
) -> SquaredError | Visible | LostStructure:
    """How errors are counted that refinement weighs against bits."""
    from .distortion import LostStructure, SquaredError, Synthesis, Target, Visible
    from .ms_ssim import SIDE

    prior, stride = model.prior, model.prior.stride
    x = to_network(tile.levels, stride)
    own = tile.own(stride)
    weight = np.zeros((1, 1, *x.shape[2:]), np.float32)
    weight[0, 0][own.slices] = 1
    exact = model.bundle.synthesis
    synthesis = Synthesis(
        model.transforms, exact.synthesis if exact else None, choices.gain_index,
        prior.mean_bits, model.bundle.halo,
    )  # fmt: skip
    target = Target(x, weight, bits_per_error)
    if choices.tune == "ssimulacra2":
        channels = model.bundle.worth_of_channels(choices.gain_index)
        return Visible(synthesis, target, stride, own, channels)
    if choices.tune == "ms-ssim" and min(tile.width, tile.height) >= SIDE:
        return LostStructure(synthesis, target, stride)
    return SquaredError(synthesis, target)


def decoded_tile(
    model: Model, tile: TileView, quantised: Quantised, gain_index: int
) -> tuple[np.ndarray, np.ndarray]:
    """What the synthesis makes of a tile by itself, pixel units int16 (h, w, 3), and what it should
    be, float32 (h, w, 3) in -0.5..0.5."""
    rows, columns = tile.own(model.prior.stride).slices
    wanted = to_network(tile.levels[rows, columns], 1)[0].transpose(1, 2, 0)
    y_hat, synthesis = quantised.y_hat, model.bundle.synthesis
    if synthesis is None:
        box = Box(0, 0, tile.width, tile.height)
        x = model.transforms.synthesis(y_hat, gain_index, model.prior.mean_bits, box)
        return units_of(x), wanted
    bands = (y_hat[rows] for rows in bands_of(*y_hat.shape[:2]))
    made = np.concatenate(list(run(synthesis.synthesis, bands, len(y_hat), gain_index)))
    return made[: tile.height, : tile.width], wanted
