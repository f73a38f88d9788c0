"""Distortion and rate metrics, torch-free."""

from __future__ import annotations

import numpy as np

MAX_PSNR = 100.0  # of identical images
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_SIDE = 161  # five scales of an 11-pixel window: (11 - 1) * 2^4 < side


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB over all channels of two uint8 images; 100 where they are identical."""
    mse = float(np.mean(np.square(a.astype(np.float32) - b.astype(np.float32)), dtype=np.float64))
    return MAX_PSNR if mse == 0 else min(MAX_PSNR, float(10 * np.log10(255.0**2 / mse)))


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Multi-scale SSIM (Wang, Simoncelli and Bovik 2003) of two uint8 (H, W, 3) images, mean of the
    channels; 11-pixel Gaussian window of sigma 1.5, valid positions only. NaN below 161 pixels a side.
    """
    if min(a.shape[:2]) < MS_SSIM_MIN_SIDE:
        return float("nan")
    from scipy.ndimage import correlate1d

    t = np.arange(11) - 5
    window = np.exp(-(t**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def blur(x: np.ndarray) -> np.ndarray:
        x = correlate1d(x, window, axis=0, mode="constant")[5:-5]
        return correlate1d(x, window, axis=1, mode="constant")[:, 5:-5]

    x, y = a.astype(np.float32), b.astype(np.float32)
    result = np.ones(x.shape[2])
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        mx, my = blur(x), blur(y)
        sxx, syy, sxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
        contrast = (2 * sxy + c2) / (sxx + syy + c2)
        if scale == len(MS_SSIM_WEIGHTS) - 1:
            contrast = contrast * (2 * mx * my + c1) / (mx * mx + my * my + c1)
        mean = contrast.mean(axis=(0, 1), dtype=np.float64)
        result *= np.maximum(mean, 0) ** weight
        x, y = _halve(x), _halve(y)
    return float(result.mean())


def _halve(x: np.ndarray) -> np.ndarray:
    """2x2 means; an odd side is first padded with a zero row or column on both ends, as
    pytorch-msssim does, of which the mean counts the zeros."""
    h, w = x.shape[:2]
    x = np.pad(x, ((h % 2, 0), (w % 2, 0), (0, 0)))
    h, w = x.shape[0] // 2, x.shape[1] // 2
    return x.reshape(h, 2, w, 2, -1).mean(axis=(1, 3), dtype=np.float32)


def ms_ssim_db(value: float) -> float:
    """-10 log10(1 - MS-SSIM)."""
    return float(-10 * np.log10(max(1 - value, 1e-10)))


def bd_rate(
    anchor: tuple[list[float], list[float]], test: tuple[list[float], list[float]]
) -> tuple[float, tuple[float, float]]:
    """Bjontegaard delta rate of `test` against `anchor`, each (rates, qualities), in per cent.

    PCHIP of log rate over quality, integrated over the common quality range, which is returned too.
    NaN where the ranges do not overlap. Points at which quality does not rise with rate are dropped.
    """
    from bjontegaard import bd_rate as bd

    (ra, qa), (rt, qt) = rising(*anchor), rising(*test)
    window = max(qa[0], qt[0]), min(qa[-1], qt[-1])
    if len(qa) < 2 or len(qt) < 2 or window[0] >= window[1]:
        return float("nan"), window
    value = bd(ra, qa, rt, qt, method="pchip", require_matching_points=False, min_overlap=0)
    return float(value), window


def rising(rates: list[float], qualities: list[float]) -> tuple[list[float], list[float]]:
    """The points in order of rate, less those whose quality is not above all before them."""
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted(zip(rates, qualities)):
        if not kept or quality > kept[-1][1]:
            kept.append((rate, quality))
    return [r for r, _ in kept], [q for _, q in kept]


def rate_at(rates: list[float], qualities: list[float], quality: float) -> float:
    """Rate at a quality, by PCHIP of log rate; NaN outside the curve."""
    from scipy.interpolate import PchipInterpolator

    r, q = rising(rates, qualities)
    if not q[0] <= quality <= q[-1]:
        return float("nan")
    return float(np.exp(PchipInterpolator(q, np.log(r))(quality)))
