"""MS-SSIM as the encoder sees it: of a decoded image, which way its pixels should move, and where
errors show.

Wang, Simoncelli and Bovik 2003, on windows of 5x5 equal weights, which blur as much as the usual
Gaussian of 1.5 pixels for a third of the additions; means over scales as in the original. The
benchmark has its own, exact one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SIDE = 5  # of a window
C1, C2 = 0.01**2, 0.03**2
# Errors count by how much they show to this power: found on two Kodak images.
SENSITIVITY_POWER = 0.8


@dataclass(frozen=True)
class Scale:
    """One scale of the original. x: float32 (3, h, w); mean, variance: of windows, float32 (3, h -
    4, w - 4); share: float32 (h - 4, w - 4), sums to 1 (of windows that count); exponent: of the
    scale."""

    x: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    share: np.ndarray
    exponent: float


def scales_of(x: np.ndarray, weight: np.ndarray) -> list[Scale]:
    """x: float32 (3, H, W); weight: float32 (H, W), at least 0, of the pixels. Smaller images have
    fewer than five scales; none where a side is below 5 pixels or no window counts."""
    scales: list[Scale] = []
    for exponent in EXPONENTS:
        if min(x.shape[1:]) < SIDE:
            break
        share = _window_means(weight)
        total = float(share.sum(dtype=np.float64))
        if total <= 0:
            break
        mean = _window_means(x)
        variance = np.maximum(_window_means(x * x) - mean * mean, 0)
        scales.append(Scale(x, mean, variance, share / np.float32(total), exponent))
        x, weight = _halve(x), _halve(weight)
    return scales


def slope(scales: list[Scale], x_hat: np.ndarray) -> tuple[float, np.ndarray]:
    """1 - MS-SSIM of the channels' mean, and its gradient by x_hat; x_hat: float32 (3, H, W)."""
    total = sum(scale.exponent for scale in scales)
    means, slopes = [], []
    for k, scale in enumerate(scales):
        mean, by_y = _slope_of_scale(scale, x_hat, k == len(EXPONENTS) - 1)
        means.append(mean)
        slopes.append(by_y)
        x_hat = _halve(x_hat) if k + 1 < len(scales) else x_hat
    powers = [np.maximum(m, 1e-3) ** (s.exponent / total) for m, s in zip(means, scales)]
    product = np.prod(powers, axis=0)
    gradient = None
    for scale, mean, by_y in zip(reversed(scales), reversed(means), reversed(slopes)):
        factor = product * (scale.exponent / total) / np.maximum(mean, 1e-3) / len(product)
        by_y *= -factor[:, None, None].astype(np.float32)
        if gradient is not None:
            by_y += _spread(gradient, by_y.shape)
        gradient = by_y
    assert gradient is not None
    return 1 - float(product.mean()), gradient


def _slope_of_scale(
    scale: Scale, y: np.ndarray, with_luminance: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Mean similarity of each channel, float64 (3,), and the gradient of its sum by y."""
    x, mx = scale.x, scale.mean
    my = _window_means(y)
    b = _window_means(y * y)
    b -= my * my
    b += scale.variance
    b += np.float32(C2)
    a = _window_means(x * y)
    a -= mx * my
    a *= 2
    a += np.float32(C2)
    contrast = a / b
    share = scale.share
    by_mean = np.float32(0)
    if with_luminance:
        d = mx * mx + my * my + np.float32(C1)
        luminance = (2 * mx * my + np.float32(C1)) / d
        by_mean = share * contrast * 2 * (mx - my * luminance) / d
        value = (share * contrast * luminance).sum((1, 2), dtype=np.float64)
        share = share * luminance
    else:
        value = (share * contrast).sum((1, 2), dtype=np.float64)
    by_product = 2 * share / b  # of mean(x y)
    by_square = -share * contrast / b  # of mean(y y)
    by_mean = by_mean - by_product * mx - 2 * by_square * my
    gradient = x * _spread_means(by_product)
    gradient += 2 * y * _spread_means(by_square)
    gradient += _spread_means(by_mean)
    return value, gradient


def sensitivity(scales: list[Scale]) -> np.ndarray:
    """How much a squared error shows in each pixel: float32 (H, W), its geometric mean 1. Where
    little happens in the original, as 1 / (2 variance + C2), summed over scales with their
    exponents."""
    total = None
    for scale in reversed(scales):
        shown = 1 / (2 * scale.variance.mean(0) + np.float32(C2))
        edge = SIDE // 2
        shown = np.pad(shown, edge, mode="edge") * np.float32(scale.exponent)
        if total is not None:
            shown += _spread(total, shown.shape) * 4
        total = shown
    assert total is not None
    total = total**SENSITIVITY_POWER
    return total / np.exp(np.log(total).mean(dtype=np.float64)).astype(np.float32)


def _window_means(x: np.ndarray) -> np.ndarray:
    """Means of 5x5 windows: (..., h, w) -> (..., h - 4, w - 4)."""
    rows = x[..., : -(SIDE - 1), :].copy()
    for i in range(1, SIDE):
        rows += x[..., i : x.shape[-2] - (SIDE - 1 - i), :]
    out = rows[..., : -(SIDE - 1)].copy()
    for j in range(1, SIDE):
        out += rows[..., j : rows.shape[-1] - (SIDE - 1 - j)]
    out *= np.float32(1 / SIDE**2)
    return out


def _spread_means(g: np.ndarray) -> np.ndarray:
    """The transpose of `_window_means`: (..., h - 4, w - 4) -> (..., h, w)."""
    pad = [(0, 0)] * (g.ndim - 2) + [(SIDE - 1, SIDE - 1)] * 2
    return _window_means(np.pad(g, pad))


def _halve(x: np.ndarray) -> np.ndarray:
    """2x2 means, an odd last row or column left out."""
    x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
    return (
        x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]
    ) * np.float32(0.25)


def _spread(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The transpose of `_halve`, to a shape whose sides may be odd."""
    out = np.zeros(shape, np.float32)
    h, w = 2 * g.shape[-2], 2 * g.shape[-1]
    out[..., :h, :w] = (g * np.float32(0.25)).repeat(2, -2).repeat(2, -1)
    return out
