"""How much an error shows in each cell of the latents' grid: much where the original is flat or
dark, little in texture.

SSIMULACRA 2's error of structure divides squared errors of luma (Y of XYB) by the local variance of
the original plus a constant; so does this, at one scale, and softly: the variance of 8x8 pixels, to
a power that was found on six held-out photographs (docs/research/perceptual.md).
"""

from __future__ import annotations

import numpy as np

from ..metrics.ssimulacra2 import C2
from ..metrics.xyb import LMS, LMS_BIAS

POWER = 0.4
LEAST, MOST = 0.25, 4.0
STEP = 1 / 16  # of the logarithm to base 2: coarse, so that no machine's last digits move a file
SIDE = 8  # pixels of a square whose variance counts

_SRGB = np.arange(256) / 255
_BASE = (np.maximum(_SRGB, 0.04) + 0.055) / 1.055
_LINEAR = np.where(_SRGB <= 0.04045, _SRGB / 12.92, _BASE**2.4)
_SLOPE = np.where(_SRGB <= 0.04045, 1 / 12.92, 2.4 / 1.055 * _BASE**1.4)


def worth(x: np.ndarray, stride: int) -> np.ndarray:
    """What a squared error is worth in each cell, float32 (H / stride, W / stride), of geometric
    mean 1 before it is clipped to LEAST..MOST.

    x: float32 (1, 3, H, W) in -0.5..0.5, from levels of 8 bits, sides multiples of `stride`, itself
    one of SIDE.
    """
    levels = np.rint((x[0] + np.float32(0.5)) * np.float32(255)).astype(np.uint8)
    return worth_of_levels(levels.transpose(1, 2, 0), stride)


def worth_of_levels(pixels: np.ndarray, stride: int) -> np.ndarray:
    """`worth` of levels, uint8 (H, W, 3)."""
    levels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    red, green, blue = _LINEAR[levels]
    long, middle = (r * red + g * green + b * blue + LMS_BIAS for r, g, b in LMS[:2])
    luma = 0.5 * (np.cbrt(long) + np.cbrt(middle))
    # how fast luma changes with the channels of sRGB, all moved together
    steep = _SLOPE[levels].sum(0) / (9 * luma * luma)
    mean = _means(luma, SIDE)
    variance = np.maximum(_means(luma * luma, SIDE) - mean * mean, 0)
    shown = _means(steep * steep, SIDE) / (2 * variance + C2)
    power = POWER * np.log2(_means(shown, stride // SIDE))
    power = np.rint((power - power.mean()) / STEP) * STEP
    return np.clip(np.exp2(power), LEAST, MOST).astype(np.float32)


def _means(x: np.ndarray, side: int) -> np.ndarray:
    """Means of squares of (H, W), added up in an order of their own on any machine."""
    total = np.zeros((x.shape[0] // side, x.shape[1] // side))
    for i in range(side):
        for j in range(side):
            total += x[i::side, j::side]
    return total / side**2
