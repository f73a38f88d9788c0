"""How alike two images are, with NumPy alone."""

from __future__ import annotations

import numpy as np

MAX_PSNR = 100.0  # of identical images
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green, blue (BT.601)
WINDOW = 11
SIGMA = 1.5


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB over all channels of two uint8 images; 100 where they are identical."""
    mse = float(np.mean(np.square(a.astype(np.float32) - b.astype(np.float32)), dtype=np.float64))
    return MAX_PSNR if mse == 0 else min(MAX_PSNR, float(10 * np.log10(255.0**2 / mse)))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean SSIM of the luma of two uint8 images (H, W) or (H, W, 3), at most 1.

    Wang, Bovik, Sheikh and Simoncelli 2004: 11-pixel Gaussian window of sigma 1.5, where it fits
    (edges of smaller images are repeated); luma as in JPEG (BT.601).
    """
    x, y = _luma(a), _luma(b)
    t = np.arange(WINDOW) - WINDOW // 2
    window = np.exp(-(t**2) / (2 * SIGMA**2))
    window = (window / window.sum()).astype(np.float32)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    # around the mean, where float32 squares lose less
    mean = np.float32(x.mean())
    x, y = x - mean, y - mean
    mx, my, sxx, syy, sxy = (_blur(p, window) for p in (x, y, x * x, y * y, x * y))
    sxx -= mx * mx
    syy -= my * my
    sxy -= mx * my
    mx += mean
    my += mean
    value = (2 * mx * my + c1) * (2 * sxy + c2) / ((mx * mx + my * my + c1) * (sxx + syy + c2))
    return float(value.mean(dtype=np.float64))


def _luma(a: np.ndarray) -> np.ndarray:
    """float32 (H, W), both sides at least the window's."""
    if a.ndim == 3:
        a = a[..., :3].astype(np.float32) @ LUMA
    h, w = a.shape
    if min(h, w) < WINDOW:
        a = np.pad(a, ((0, max(0, WINDOW - h)), (0, max(0, WINDOW - w))), mode="edge")
    return a.astype(np.float32)


def _blur(x: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Correlation along both axes, valid positions only."""
    for axis in (0, 1):
        size = x.shape[axis] - len(window) + 1
        parts = [x[i : i + size] if axis == 0 else x[:, i : i + size] for i in range(len(window))]
        total = parts[0] * window[0]
        product = np.empty_like(total)
        for part, weight in zip(parts[1:], window[1:]):
            np.multiply(part, weight, out=product)
            total += product
        x = total
    return x
