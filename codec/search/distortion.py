"""What the errors of quantised latents are worth in bits, and which way the latents should move:
for refinement.

Three ways to count: squared errors, as PSNR does; what SSIMULACRA 2 sees, as models are trained;
and lost structure, as MS-SSIM does. Latents are decoded in blocks, so that memory is bounded by
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...formats.tiles import Box, tile_boxes
from ..exact.synthesis import UNITS, bands_of, run
from . import masking, ssimulacra2
from .ms_ssim import scales_of, sensitivity, slope

if TYPE_CHECKING:
    from ..exact.program import Program
    from ..models.transforms import Transforms

# Cells on a side that are decoded at once: a tile of 1024 pixels and its margins whole, larger
# images in blocks.
WHOLE_CELLS, BLOCK_CELLS = 80, 48
# How much lost structure counts against bits, beside squared errors: found on two Kodak images.
STRUCTURE_WEIGHT = 1.3
# The share of SSIMULACRA 2 in what `Visible` counts; the rest are squared errors.
SEEN_SHARE = 0.9


@dataclass(frozen=True)
class Target:
    """What g_s should give. pixels: float32 (1, 3, H, W) in -0.5..0.5; weight: float32 (1, 1, H,
    W), how much each pixel counts; bits_per_error: what a squared error of 1 is worth (one channel
    of one pixel)."""

    pixels: np.ndarray
    weight: np.ndarray
    bits_per_error: float


@dataclass(frozen=True)
class Synthesis:
    """g_s at one gain index: in integers, as files are decoded, where the bundle has a program for
    that, and its gradient in float32, in blocks. halo: cells around a block that it sees;
    mean_bits: fractional bits of latents in fixed point."""

    transforms: Transforms
    program: Program | None
    gain_index: int
    mean_bits: int
    halo: int

    def _blocks(self, h: int, w: int, stride: int) -> Iterator[tuple]:
        """(cells of a block with its halo, their pixels, the block's own pixels among those, and in
        the image); the third as a box, the others as slices."""
        whole = Box(0, 0, w, h)
        side = WHOLE_CELLS if max(w, h) <= WHOLE_CELLS else BLOCK_CELLS
        for block in tile_boxes(w, h, side):
            outer = block.grown(self.halo, whole)
            left, top = block.left - outer.left, block.top - outer.top
            own = Box(left, top, block.width, block.height).times(stride)
            yield outer.slices, outer.times(stride).slices, own, block.times(stride).slices

    def decode(self, window: np.ndarray, stride: int) -> np.ndarray:
        """window: float32 (h, w, M), quantised latents -> float32 (1, 3, stride h, stride w),
        clipped."""
        h, w = window.shape[:2]
        out = np.empty((1, 3, stride * h, stride * w), np.float32)
        if self.program is not None:
            bands = (self._fixed(window[cells]) for cells in bands_of(h, w))
            top = 0
            for units in run(self.program, bands, h, self.gain_index):
                rows = slice(top, top + len(units))
                np.multiply(units.transpose(2, 0, 1), np.float32(1 / UNITS), out[0][:, rows])
                top = rows.stop
        else:
            for cells, _, own, place in self._blocks(h, w, stride):
                fixed = self._fixed(window[cells])
                x = self.transforms.synthesis(fixed, self.gain_index, self.mean_bits, own)
                out[0][:, place[0], place[1]] = x.transpose(2, 0, 1)
        return np.clip(out, -0.5, 0.5, out=out)

    def _fixed(self, window: np.ndarray) -> np.ndarray:
        return np.rint(window * np.float32(1 << self.mean_bits)).astype(np.int32)

    def error_gradient(
        self, window: np.ndarray, pixels: np.ndarray, weight: np.ndarray, keep: bool
    ) -> tuple[float, np.ndarray]:
        """Transforms.error_gradient of a window of any size: the blocks' errors and gradients add
        up."""
        h, w = window.shape[:2]
        total, gradient = 0.0, np.zeros_like(window)
        for cells, around, own, place in self._blocks(h, w, pixels.shape[2] // h):
            part = np.zeros((1, 1, *pixels[0, 0][around].shape), np.float32)
            part[0, 0][own.slices] = weight[0, 0][place]
            target = np.ascontiguousarray(pixels[:, :, around[0], around[1]])
            error, slopes = self.transforms.error_gradient(
                window[cells], self.gain_index, target, part, keep
            )
            total += error
            gradient[cells] += slopes
        return total, gradient


class SquaredError:
    """Counts squared errors."""

    worth = channels = None

    def __init__(self, synthesis: Synthesis, target: Target):
        self._synthesis, self._target = synthesis, target

    def bits(self, window: np.ndarray) -> float:
        """What the errors of quantised latents, float32 (h, w, M), are worth."""
        target = self._target
        x = self._synthesis.decode(window, target.pixels.shape[2] // window.shape[0])
        x -= target.pixels
        error = (np.square(x, out=x) * target.weight).sum(dtype=np.float64)
        return target.bits_per_error * float(error)

    def slope(self, window: np.ndarray, keep: bool = False) -> tuple[float, np.ndarray]:
        """The same, and its gradient by the latents, float32 (h, w, M). keep: the memory that this
        took, for another slope."""
        target = self._target
        error, gradient = self._synthesis.error_gradient(window, target.pixels, target.weight, keep)
        gradient *= np.float32(target.bits_per_error)
        return target.bits_per_error * error, gradient


class Visible:
    """Counts SSIMULACRA 2's sum of errors beside squared errors, in the shares that models are
    trained with.

    own: the target's pixels that count, alone in what is compared. worth: as of LostStructure, see
    masking.py. channels: float32 (M,), what an error is worth in each channel beside others, or
    None.
    """

    def __init__(
        self,
        synthesis: Synthesis,
        target: Target,
        stride: int,
        own: Box,
        channels: np.ndarray | None = None,
    ):
        self._synthesis, self._target, self._stride = synthesis, target, stride
        self.channels = channels
        rows, columns = self._place = own.slices
        self._original = target.pixels[0][:, rows, columns] + np.float32(0.5)
        self._channels = ssimulacra2.channels_of(self._original)
        self.worth = masking.worth(target.pixels, stride)
        # bits that a mean squared error of 1, all over the tile, is worth
        self._all = target.bits_per_error * self._original.size

    def _slope(self, window: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """What errors are worth, its gradient by the tile's pixels, and the decoded window."""
        x_hat = self._synthesis.decode(window, self._stride)
        rows, columns = self._place
        own = x_hat[0][:, rows, columns] + np.float32(0.5)
        seen, gradient = ssimulacra2.slope(self._channels, own)
        share = SEEN_SHARE / ssimulacra2.PER_SQUARED_ERROR
        error = own - self._original
        squared = float(np.square(error).sum(dtype=np.float64)) * self._target.bits_per_error
        bits = share * seen * self._all + (1 - SEEN_SHARE) * squared
        gradient *= np.float32(share * self._all)
        gradient += np.float32(2 * (1 - SEEN_SHARE) * self._target.bits_per_error) * error
        return bits, gradient, x_hat

    def bits(self, window: np.ndarray) -> float:
        """As SquaredError.bits."""
        return self._slope(window)[0]

    def slope(self, window: np.ndarray, keep: bool = False) -> tuple[float, np.ndarray]:
        """As SquaredError.slope."""
        bits, gradient, x_hat = self._slope(window)
        # The squared error to this target has the gradient wanted.
        rows, columns = self._place
        x_hat[0][:, rows, columns] -= gradient / 2
        weight = np.zeros_like(self._target.weight)
        weight[0, 0, rows, columns] = 1
        return bits, self._synthesis.error_gradient(window, x_hat, weight, keep)[1]


class LostStructure:
    """Counts 1 - MS-SSIM; at first it weighs as much as squared errors that show alike, in that the
    gradients by the pixels are equally long.

    worth: float32 (h, w), how much a squared error in a cell counts, about; its geometric mean is
    STRUCTURE_WEIGHT.
    """

    channels = None

    def __init__(self, synthesis: Synthesis, target: Target, stride: int):
        self._synthesis, self._target, self._stride = synthesis, target, stride
        self._scales = scales_of(target.pixels[0] + np.float32(0.5), target.weight[0, 0])
        h, w = target.pixels.shape[2:]
        self._shown = sensitivity(self._scales) * np.float32(STRUCTURE_WEIGHT)
        cells = self._shown.reshape(h // stride, stride, w // stride, stride).mean((1, 3))
        self.worth = np.clip(cells, 0.05, 20)
        self._factor = 0.0  # bits that 1 - MS-SSIM = 1 is worth

    def _slope(self, window: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        x_hat = self._synthesis.decode(window, self._stride)
        lost, gradient = slope(self._scales, x_hat[0] + np.float32(0.5))
        if not self._factor:
            target = self._target
            squared = (x_hat - target.pixels) * (self._shown * target.weight)
            length = 2 * target.bits_per_error * float(np.linalg.norm(squared))
            self._factor = length / max(float(np.linalg.norm(gradient)), 1e-12)
        return lost, gradient, x_hat

    def bits(self, window: np.ndarray) -> float:
        """As SquaredError.bits."""
        return self._slope(window)[0] * self._factor

    def slope(self, window: np.ndarray, keep: bool = False) -> tuple[float, np.ndarray]:
        """As SquaredError.slope."""
        lost, gradient, x_hat = self._slope(window)
        # The squared error to this target has the gradient wanted.
        x_hat -= gradient * np.float32(self._factor / 2)
        weight = np.ones_like(self._target.weight)
        return lost * self._factor, self._synthesis.error_gradient(window, x_hat, weight, keep)[1]
