"""How much an error shows in each cell of the latents' grid: much where the original is flat or dark,
little in texture.

SSIMULACRA 2's error of structure divides squared errors of luma (Y of XYB) by the local variance of
the original plus a constant; so does this, at one scale, and softly: the variance of 8x8 pixels, to a
power that was found on six held-out photographs (docs/research/perceptual.md).
"""

from __future__ import annotations

import numpy as np

from .ssimulacra2 import BIAS, C2, LMS

POWER = 0.4
LEAST, MOST = 0.25, 4.0
SIDE = 8  # pixels of a square whose variance counts


def worth(x: np.ndarray, stride: int) -> np.ndarray:
    """What a squared error is worth in each cell, float32 (H / stride, W / stride), of geometric mean 1
    before it is clipped to LEAST..MOST.

    x: float32 (1, 3, H, W) in -0.5..0.5, sides multiples of `stride`, itself one of SIDE.
    """
    rgb = np.clip(x[0] + np.float32(0.5), 0, 1)
    base = (np.maximum(rgb, np.float32(0.04)) + np.float32(0.055)) / np.float32(1.055)
    power = base ** np.float32(1.4)
    dark = rgb <= 0.04045
    linear = np.where(dark, rgb * np.float32(1 / 12.92), power * base)
    by_srgb = np.where(dark, np.float32(1 / 12.92), np.float32(2.4 / 1.055) * power)
    lms = np.tensordot(np.array(LMS[:2], np.float32), linear, 1) + np.float32(BIAS)
    root = np.cbrt(lms)
    luma = np.float32(0.5) * (root[0] + root[1])
    # how fast luma changes with the channels of sRGB, all moved together
    middle = lms.mean(0)
    steep = by_srgb.mean(0) / (3 * np.cbrt(middle) ** 2)
    mean = _means(luma, SIDE)
    variance = np.maximum(_means(luma * luma, SIDE) - mean * mean, 0)
    shown = _means(steep * steep, SIDE) / (2 * variance + np.float32(C2))
    shown = _means(shown, stride // SIDE) ** np.float32(POWER)
    return np.clip(shown / np.exp(np.log(shown).mean()), LEAST, MOST)


def _means(x: np.ndarray, side: int) -> np.ndarray:
    h, w = x.shape
    return x.reshape(h // side, side, w // side, side).mean((1, 3))
