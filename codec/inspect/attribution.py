"""Which latents the pixels of a region depend on: gradient times activation, Grad-CAM, layer-wise
relevance.

What is explained is the region's contrast, S = 1/2 sum (x - m)^2 over its pixels and colours, m the
mean of each colour: brightness alone would put everything on one channel. The gradient of S by the
pixels is x - m.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...formats import ModelError, UnsupportedError
from ...formats.tiles import Box
from ..settings import install
from .look import Look

MAX_PIXELS = 1 << 20  # of a region
EPSILON = 0.1  # of layer-wise relevance, in root mean squares of a layer's output


@dataclass(frozen=True)
class Attribution:
    """Shares of a region's contrast, 1 for all of it.

    region: in pixels. window: the cells that g_s looks at for it. gradient: float32 (h, w, M) over
    the window, latents times the gradient of S by them, over 2 S. grad_cam: float32 (rows, columns)
    of the whole image, 0 to 1 (Selvaraju et al. 2017): positive part of the sum over channels of
    latents times their mean gradient in the window, over its maximum. relevance: float32 (h, w, M),
    layer-wise relevance by the epsilon rule (Bach et al. 2015), None without torch; why says then
    what is missing. contrast: the root mean square of x - m, in levels.
    """

    region: Box
    window: Box
    gradient: np.ndarray
    grad_cam: np.ndarray
    relevance: np.ndarray | None
    contrast: float
    why: str = ""

    def inside(self, shares: np.ndarray, stride: int) -> float:
        """How much of the magnitude of shares, float (h, w, M), lies in the cells that the region
        touches."""
        cells = self.region.cells(stride)
        magnitude = np.abs(shares.sum(2))
        part = magnitude[cells.within(self.window)].sum()
        return float(part / max(float(magnitude.sum()), 1e-30))


def check_region(region: Box, seen_size: tuple[int, int]) -> Box:
    """Raise UnsupportedError unless a region lies within the image and is not too large."""
    width, height = seen_size
    whole = Box(0, 0, width, height)
    name = f"region {region.left},{region.top},{region.width},{region.height}"
    if min(region.width, region.height) < 1 or region.intersection(whole) != region:
        raise UnsupportedError(
            f"{name} is not within the image of {width}x{height} pixels (left, top, width, height)"
        )
    if region.width * region.height > MAX_PIXELS:
        raise UnsupportedError(
            f"{name} has more than {MAX_PIXELS} pixels: choose a smaller one to explain"
        )
    return region


def attribute(seen: Look, region: Box) -> Attribution:
    """Explain a region of an image that was looked into.

    The gradient needs the bundle's graph of it, or torch; layer-wise relevance needs torch. Raises
    ImportError where the gradient can be had by neither, and UnsupportedError as check_region.
    """
    model, header = seen.model, seen.contents.header
    check_region(region, (header.width, header.height))
    program, gain_index = model.prior.program, header.gain_index
    stride, bits = model.prior.stride, model.prior.mean_bits
    whole = Box(0, 0, header.width, header.height).cells(stride)
    window = whole if "size" in program else region.cells(stride)
    window = window.grown(model.bundle.halo, whole)
    y_hat = seen.tiles.gather(window, stride)
    direction, contrast = _direction(
        model.transforms.synthesis(y_hat, gain_index, bits), region, window
    )
    total = float(np.square(direction).sum(dtype=np.float64)) or 1.0
    gain = model.bundle.rows["inverse_gain"][gain_index] * np.float32(2.0**-bits)
    y = y_hat.astype(np.float32) * gain
    relevance, why = None, ""
    try:
        from ..training.relevance import explain
    except ImportError as error:
        if not model.transforms.has_gradient:
            raise
        why = f"{error.name or error} is not installed: {install('train')}"
        gradient = model.transforms.pull_back(y_hat, gain_index, bits, direction) * np.float32(
            2.0**-bits
        )
        shares = y_hat * gradient
    else:
        try:
            by_y, relevance = explain(model.bundle, y, gain_index, direction, EPSILON)
        except (OSError, KeyError, ValueError) as error:
            raise ModelError(
                f"{model.bundle.path}: cannot be turned back into a network ({error})"
            ) from None
        gradient, shares = by_y * gain, y * by_y
        relevance /= np.float32(total)
    grad_cam = _grad_cam(seen, gradient.mean((0, 1)), whole, stride)
    return Attribution(
        region, window, shares / np.float32(total), grad_cam, relevance, contrast, why
    )


def _direction(x: np.ndarray, region: Box, window: Box) -> tuple[np.ndarray, float]:
    """The gradient of S by the window's pixels, float32 as x, (h, w, 3); and the contrast in
    levels."""
    side = x.shape[0] // window.height
    place = region.within(window.times(side))
    inside = np.clip(x[place], -0.5, 0.5)
    inside = inside - inside.mean((0, 1), keepdims=True)
    direction = np.zeros_like(x)
    direction[place] = inside
    return direction, 255 * float(np.sqrt(np.square(inside).mean(dtype=np.float64)))


def _grad_cam(seen: Look, weights: np.ndarray, whole: Box, stride: int) -> np.ndarray:
    """weights: float32 (M,), per unit of y_hat in fixed point."""
    total = np.empty((whole.height, whole.width), np.float32)
    for top in range(0, whole.height, 64):
        rows = Box(0, top, whole.width, min(64, whole.height - top))
        total[top : rows.bottom] = seen.tiles.gather(rows, stride) @ weights
    np.maximum(total, 0, out=total)
    return total / max(float(total.max()), 1e-30)
